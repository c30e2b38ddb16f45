/** Takes the README's picture: `node test/browser/picture.ts [folder]`. */
import { join } from 'node:path';
import { token } from '../services/gateway-desk.ts';
import { openBrowser } from './chromium.ts';
import { DEMO } from './demo.ts';
import { openStage } from './page.ts';

const SIZES = {
  dashboard: { width: 1_480, height: 800, scheme: 'light', open: 'lumen-energy' },
  'dashboard-dark': { width: 1_480, height: 930, scheme: 'dark', open: 'lumen-energy' },
  'dashboard-wide': { width: 1_480, height: 930, scheme: 'light', open: undefined },
  'dashboard-phone': { width: 400, height: 860, scheme: 'light', open: undefined },
  'dashboard-login': { width: 1_000, height: 640, scheme: 'light', open: 'login' },
} as const;
const [folder = 'docs', ...only] = process.argv.slice(2);

const stage = await openStage();
for (const desk of DEMO) stage.story.tell(desk, Date.now());
const browser = await openBrowser();
const operator = await token({ role: 'operator', person: 'op' });
for (const [name, { width, height, scheme, open }] of Object.entries(SIZES)) {
  if (only.length > 0 && !only.includes(name)) continue;
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme, deviceScaleFactor: 2, locale: 'en-GB' });
  page.on('console', (message) => console.log(name, message.type(), message.text()));
  page.on('pageerror', (error) => console.log(name, error.message));
  await page.goto(stage.url);
  if (open !== 'login') {
    await page.fill('#token', operator);
    await page.keyboard.press('Enter');
    await page.waitForSelector('tbody tr');
    if (open) await page.click(`tr[data-tenant="${open}"] .name`);
    if (open) await page.waitForSelector('.requests li .life');
  }
  await page.waitForTimeout(700);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await page.close();
}
await browser.close();
await stage.app.close();
