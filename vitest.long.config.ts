import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    reporters: ['default', './test/reporter.ts'],
    include: ['test/long/**/*.test.ts'],
    passWithNoTests: true,
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 180_000,
  },
});
