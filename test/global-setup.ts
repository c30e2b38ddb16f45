import type { TestProject } from 'vitest/node';
import { startKafka, type TestKafka } from './start-kafka.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    kafka: TestKafka;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { brokers, registryUrl, admin, dataDir, pids, stop } = await startKafka({ registry: true });
  project.provide('kafka', { brokers, registryUrl, admin, dataDir, pids });
  return stop;
}
