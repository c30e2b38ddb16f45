import { defineConfig } from 'vitest/config';

const real = { fileParallelism: false, testTimeout: 90_000, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    reporters: ['default', './test/reporter.ts'],
    projects: [
      { test: { name: 'habits', include: ['test/habits.test.ts'] } },
      { test: { name: 'unit', include: ['test/{schemas,streams,services,infra,chaos,bench}/**/*.test.ts', 'test/contract/*-{memory,rocksdb}.test.ts'] } },
      { test: { name: 'simulation', include: ['test/simulation/**/*.test.ts'], testTimeout: 240_000 } },
      {
        test: {
          name: 'real',
          include: ['test/contract/*-kafka.test.ts', 'test/integration/**/*.test.ts', 'test/browser/**/*.test.ts'],
          globalSetup: ['test/global-setup.ts'],
          ...real,
        },
      },
    ],
  },
});
