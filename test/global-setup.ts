import type { TestProject } from 'vitest/node';
import { startKafka, type TestKafka } from './start-kafka.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    kafka: TestKafka;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { stop, ...kafka } = await startKafka();
  project.provide('kafka', kafka);
  return stop;
}
