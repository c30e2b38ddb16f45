/** The demo's support desks: their knowledge is the documentation that these packages ship, read from the installed packages. */
export type DemoTenant = { readonly tenant: string; readonly docs: string; readonly policy: Readonly<Record<string, number>> };

export const DEMO_TENANTS: readonly DemoTenant[] = [
  { tenant: 'fastify', docs: 'fastify/docs', policy: { budgetDay: 5_000_000, requestsPerSecond: 50, burst: 100, maxInFlight: 16 } },
  { tenant: 'pino', docs: 'pino/docs', policy: { budgetDay: 2_000_000, requestsPerSecond: 20, burst: 40, maxInFlight: 8 } },
  { tenant: 'undici', docs: 'undici/docs', policy: { budgetDay: 1_000_000, requestsPerSecond: 20, burst: 40, maxInFlight: 8 } },
];
