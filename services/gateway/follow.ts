/** A request's life over server-sent events: what is known of it, then what happens, until its end. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RequestId, TenantId } from '#schemas/ids.ts';
import type { Caller } from './auth.ts';
import { type GatewayParts, rightLost } from './parts.ts';
import { eventStream } from './sse.ts';
import { type Stage, stageOf } from './view.ts';

/** The right to see is asked again at each event. `stages`: what is known now; between that and the call there is no await. */
export function follow(
  parts: GatewayParts,
  caller: Caller,
  of: { readonly tenant: TenantId; readonly id: RequestId; readonly stages: readonly Stage[] },
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  const { tenant, id, stages } = of;
  const giveBack = parts.streams.take(tenant);
  const stream = eventStream(request, reply, caller.expiresAt);
  stream.onClose(giveBack);
  const seen = lastSeen(request);
  const send = (stage: Stage) => {
    if (rightLost(parts, caller)) return stream.end();
    if (stage.offset === null || stage.offset > seen) stream.send(stage.stage, { ...stage, at: new Date(stage.at).toISOString() }, stage.offset);
    // Refused at the door it has no row, and no further life.
    if (stage.stage === 'finished' || stage.stage === 'refused') stream.end();
  };
  stream.onClose(
    parts.lifecycle.onRequest(tenant, id, (happened) => {
      const stage = stageOf(happened);
      if (stage) send(stage);
    }),
  );
  for (const stage of stages) send(stage);
}

/** A client that comes back is not told again what it has seen. */
function lastSeen({ headers }: FastifyRequest): number {
  const id = headers['last-event-id'];
  return typeof id === 'string' && /^\d{1,15}$/.test(id) ? Number(id) : -1;
}
