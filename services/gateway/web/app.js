// @ts-nocheck browser code
/** The live page: who looks, the stream that feeds it, and what is open. */
import { Detail } from './detail.js';
import { byId } from './dom.js';
import { count } from './format.js';
import { events, Refused, read } from './stream.js';
import { Tenants } from './tenants.js';
import { Tiles } from './tiles.js';

const TOKEN = 'evenkeel.token';
const BACKOFF_MS = [300, 600, 1_200, 2_500, 5_000];
/** How often the open tenant is read anew while it moves. */
const DETAIL_MS = 500;

const tiles = new Tiles();
const tenants = new Tenants((tenant) => open(tenant));
const detail = new Detail(() => close());
let session;
let opened;

function say(state, text) {
  byId('state').dataset.state = state;
  byId('state').textContent = text;
}

function showLogin(problem) {
  session?.abort();
  session = undefined;
  close();
  sessionStorage.removeItem(TOKEN);
  byId('login').hidden = false;
  byId('live').hidden = true;
  byId('sign-out').hidden = true;
  byId('login-problem').hidden = !problem;
  byId('login-problem').textContent = problem ?? '';
  say('off', '');
  byId('token').value = '';
  byId('token').focus();
}

function start(token) {
  session?.abort();
  session = new AbortController();
  byId('login').hidden = true;
  byId('live').hidden = false;
  byId('sign-out').hidden = false;
  void stay(token, session.signal);
}

/** Comes back when the gateway does; a token that no longer holds leads to the login. */
async function stay(token, signal) {
  for (let failures = 0; !signal.aborted; ) {
    say('waiting', failures === 0 ? 'connecting' : 'reconnecting');
    try {
      for await (const { type, data } of events('/v1/live', token, signal)) {
        failures = 0;
        take(type, data);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && (error.status === 401 || error.status === 403)) return showLogin(error.message);
    }
    await new Promise((resolve) => setTimeout(resolve, BACKOFF_MS[Math.min(failures++, BACKOFF_MS.length - 1)]));
  }
}

function take(type, { role, tenant, at, known, tenants: numbers }) {
  if (type === 'snapshot') tenants.snapshot(numbers, at);
  else tenants.update(numbers, at);
  tiles.set(tenants.all);
  tenants.select(opened);
  say('live', `live · ${role.replaceAll('_', ' ')}${tenant ? ` of ${tenant}` : ''}`);
  const shown = tenants.rows.size;
  byId('note').textContent = role === 'operator' && !tenant && known > shown ? `The ${count(shown)} that were active last, of ${count(known)} tenants.` : '';
  if (numbers.some((each) => each.tenant === opened)) refresh(at);
}

function open(tenant) {
  if (opened === tenant) return close();
  opened = tenant;
  tenants.select(tenant);
  byId('live').dataset.detail = '';
  detail.show(tenant);
  refresh(Date.now());
}

function close() {
  const was = opened;
  opened = undefined;
  delete byId('live').dataset.detail;
  detail.hide();
  tenants.select(undefined);
  if (was) tenants.focus(was);
}

let timer;
/** At once, and then not again for a while. */
function refresh() {
  if (timer) {
    timer.again = true;
    return;
  }
  const mine = { again: false };
  timer = mine;
  void load(opened);
  setTimeout(() => {
    timer = undefined;
    if (mine.again && opened) refresh();
  }, DETAIL_MS);
}

async function load(tenant) {
  try {
    const got = await read(`/v1/tenants/${encodeURIComponent(tenant)}`, sessionStorage.getItem(TOKEN), session?.signal);
    if (opened === tenant) detail.set(got, Date.now());
  } catch {
    // The stream says when the gateway is away, or the right to look is gone.
  }
}

byId('login-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = byId('token').value.trim();
  sessionStorage.setItem(TOKEN, token);
  start(token);
});
byId('sign-out').addEventListener('click', () => showLogin());

const kept = sessionStorage.getItem(TOKEN);
if (kept) start(kept);
else showLogin();
