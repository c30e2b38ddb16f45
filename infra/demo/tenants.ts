/** The demo's support desks: their knowledge is the documentation that these packages ship, read from the installed packages. */
export type DemoTenant = {
  readonly tenant: string;
  /** The npm package that is installed here. */
  readonly package: string;
  /** Its folder of Markdown. */
  readonly docs: string;
  readonly policy: Readonly<Record<string, number>>;
};

export const DEMO_TENANTS: readonly DemoTenant[] = [
  { tenant: 'fastify', package: 'fastify', docs: 'docs', policy: { budgetDay: 5_000_000, requestsPerSecond: 50, burst: 100, maxInFlight: 16 } },
  { tenant: 'pino', package: 'pino', docs: 'docs', policy: { budgetDay: 2_000_000, requestsPerSecond: 20, burst: 40, maxInFlight: 8 } },
  { tenant: 'undici', package: 'undici', docs: 'docs/docs', policy: { budgetDay: 1_000_000, requestsPerSecond: 20, burst: 40, maxInFlight: 8 } },
];
