// One tenant: its recent requests with their timelines, and its policy.
import { dollars, duration } from './format.js';

export async function showDetail(place, tenant, token) {
  const response = await fetch(`/v1/tenants/${encodeURIComponent(tenant)}`, { headers: { authorization: `Bearer ${token}` } });
  if (!response.ok) return;
  const { recent, policy, policy_version: version } = await response.json();
  const heading = document.createElement('h2');
  heading.textContent = `${tenant}: recent requests`;
  const rows = recent.slice(0, 15).map(({ request_id: id, stages, outcome, reason, cost_micro_usd: cost }) => {
    const [first, last] = [stages[0], stages[stages.length - 1]];
    const timeline = stages.map(({ stage, at, detail }, index) => {
      const since = index === 0 ? '' : ` +${duration(at - stages[index - 1].at)}`;
      return `${detail ? `${stage} ${detail}` : stage}${since}`;
    });
    return [id, outcome ?? last.stage, reason ?? '', dollars(cost), duration(last.at - first.at), timeline.join(' → ')];
  });
  const policyLine = document.createElement('p');
  policyLine.className = 'hint';
  policyLine.textContent = `Policy ${version}: ${policy.requestsPerSecond} requests/s, burst ${policy.burst}, ${policy.maxInFlight} in flight, ${policy.maxQueued} queued, at most ${dollars(policy.requestCeiling)} a request`;
  place.replaceChildren(heading, table(['Request', 'Outcome', 'Reason', 'Cost', 'Took', 'Timeline'], rows), policyLine);
}

function table(head, rows) {
  const element = document.createElement('table');
  const line = (cells, kind) => {
    const row = document.createElement('tr');
    for (const text of cells) {
      const cell = document.createElement(kind);
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  };
  element.append(line(head, 'th'), ...rows.map((row) => line(row, 'td')));
  return element;
}
