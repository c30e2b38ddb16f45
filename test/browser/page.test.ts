import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { TenantId } from '#schemas/ids.ts';
import { token } from '../services/gateway-desk.ts';
import { openBrowser } from './chromium.ts';
import { DEMO, type DemoDesk } from './demo.ts';
import { openStage } from './page.ts';

let browser: Browser;
let stage: Awaited<ReturnType<typeof openStage>>;
let page: Page;
let said: string[];
beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(() => browser.close());
beforeEach(async () => {
  stage = await openStage();
  for (const desk of DEMO.slice(0, 4)) stage.story.tell(desk, Date.now());
  page = await browser.newPage();
  said = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(error.message));
});
afterEach(async () => {
  await page.close();
  await stage.app.close();
});

const fastify = DEMO[0] as DemoDesk;
const burnOf = (tenant: string): number => stage.view.numbers(tenant as TenantId)?.burn_today_micro_usd ?? 0;
const row = (tenant: string) => page.locator(`tr[data-tenant="${tenant}"]`);
const shownBurn = (tenant: string) => row(tenant).locator('[data-micro-usd]').getAttribute('data-micro-usd');

async function signIn(claims: Parameters<typeof token>[0]): Promise<void> {
  await page.goto(stage.url);
  await page.fill('#token', await token(claims));
  await page.keyboard.press('Enter');
}

describe('the live page', () => {
  test('shows all tenants to an operator, and their burn is the sum of the cost events', async () => {
    await signIn({ role: 'operator' });
    await row('fastify').waitFor();
    expect(await page.locator('tbody tr').count()).toBe(4);
    for (const { tenant } of DEMO.slice(0, 4)) expect(await shownBurn(tenant)).toBe(String(burnOf(tenant)));
    expect(said).toEqual([]);
  });

  test('moves within a second of an event', async () => {
    await signIn({ role: 'operator' });
    await row('fastify').waitFor();
    const before = burnOf('fastify');
    stage.story.life(fastify, Date.now());
    const after = String(burnOf('fastify'));
    expect(after).not.toBe(String(before));
    await row('fastify').locator(`[data-micro-usd="${after}"]`).waitFor({ timeout: 1_000 });
  });

  test('says that a budget will not last, and when it does again', async () => {
    await signIn({ role: 'operator' });
    const now = Date.now();
    const of = { tenant: fastify.tenant as TenantId, window: 'day', key: new Date(now).toISOString().slice(0, 10), unit: 'micro_usd' } as const;
    stage.story.event({ type: 'forecast_raised', ...of, spent: 1, limit: 2, exhaustedAt: now + 3_600_000 }, now);
    await row('fastify').getByText('Budget will not last').waitFor();
    stage.story.event({ type: 'alert_cleared', alert: 'budget_forecast', ...of }, now);
    await row('fastify').getByText('Budget will not last').waitFor({ state: 'hidden' });
  });

  test('shows a tenant’s administrator that tenant alone', async () => {
    await signIn({ role: 'tenant_admin', tenant: 'pino' });
    await page.locator('#login-problem').waitFor();
    expect(await page.locator('#login-problem').textContent()).toContain('There is no such tenant');
    await signIn({ role: 'tenant_admin', tenant: 'fastify' });
    await row('fastify').waitFor();
    stage.story.life(DEMO[1] as DemoDesk, Date.now());
    stage.story.life(fastify, Date.now());
    await row('fastify')
      .locator(`[data-micro-usd="${burnOf('fastify')}"]`)
      .waitFor();
    expect(await page.locator('tbody tr').count()).toBe(1);
    expect(await page.content()).not.toContain('harbor-bank');
  });

  test('opens a tenant by keyboard, and closes it with Escape', async () => {
    await signIn({ role: 'operator' });
    await row('fastify').waitFor();
    await row('fastify').locator('.name').focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.locator('.requests .life').first().waitFor();
    expect(await page.locator('#detail-name').textContent()).toBe('harbor-bank');
    expect(await page.locator('.limits dd').first().textContent()).toBe('50, burst 100');
    await page.keyboard.press('Escape');
    expect(await page.locator('#detail').isHidden()).toBe(true);
    expect(await page.evaluate('document.activeElement.textContent')).toBe('harbor-bank');
    expect(said).toEqual([]);
  });

  test('shows what a hostile tenant wrote as text', async () => {
    const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
    stage.story.tell({ ...fastify, tenant: hostile, requests: 3 }, Date.now());
    await signIn({ role: 'operator' });
    await page.locator('tbody tr').nth(4).waitFor();
    expect(await page.locator('.name').allTextContents()).toContain(hostile);
    expect(await page.locator('tbody :is(img, script)').count()).toBe(0);
    expect(await page.title()).toBe('Evenkeel');
  });

  test('says why a token is not taken, and keeps none of it', async () => {
    await signIn({ role: 'operator', seconds: -60 });
    await page.locator('#login-problem').waitFor();
    expect(await page.locator('#login-problem').textContent()).toContain('not valid');
    expect(await page.evaluate('sessionStorage.length')).toBe(0);
    await signIn({ role: 'end_user', tenant: 'fastify' });
    await page.locator('#login-problem').waitFor();
    expect(await page.locator('#login-problem').textContent()).toContain('operator or tenant_admin');
  });

  test('ends when the token does', async () => {
    await signIn({ role: 'operator', seconds: 2 });
    await row('fastify').waitFor();
    await page.locator('#login-problem').waitFor({ timeout: 6_000 });
    expect(await page.locator('#live').isHidden()).toBe(true);
  });
});
