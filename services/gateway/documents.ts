/** A tenant's knowledge: documents go onto the compacted topic, from which the runtime builds its indexes. */
import type { FastifyInstance } from 'fastify';
import { EvenkeelError } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';
import type { Topic } from '#schemas/topics.ts';
import type { Caller } from './auth.ts';
import { type GatewayParts, identify, mustBe, partition, tenantFor } from './parts.ts';
import { object, PROBLEMS, security } from './shapes.ts';

const KNOWLEDGE: Topic = 'support.knowledge';
const MOST_BYTES = 1_048_576;
type Params = { readonly tenant: string; readonly '*': string };
type Document = { readonly title: string; readonly version: string; readonly content: string; readonly audience?: 'everyone' | 'agents' };

const BODY = object(['title', 'version', 'content'], {
  title: { type: 'string', minLength: 1, maxLength: 300, examples: ['Hooks'] },
  version: { type: 'string', minLength: 1, maxLength: 100, examples: ['5.12.8'] },
  content: { type: 'string', maxLength: MOST_BYTES, description: 'Markdown, at most 1 MiB.', examples: ['# Hooks\n\nA hook is registered with `addHook`.'] },
  audience: { enum: ['everyone', 'agents'], default: 'everyone', description: 'agents: never shown to a customer.' },
});

export function documentRoutes(app: FastifyInstance, parts: GatewayParts): void {
  const shared = { security, tags: ['knowledge'], response: PROBLEMS(400, 401, 403, 404, 413, 503) };
  // JSON may escape each byte of a document six times over; what it holds is bounded below.
  const put = { schema: { ...shared, body: BODY, summary: 'Put a document; its id may hold slashes' }, bodyLimit: 4 * MOST_BYTES };
  app.put<{ Params: Params; Body: Document }>('/v1/tenants/:tenant/documents/*', put, async (request) => {
    const { tenant, documentId } = documentOf(parts, await identify(parts, request), request.params);
    const { title, version, content, audience = 'everyone' } = request.body;
    const size = Buffer.byteLength(content);
    if (size > MOST_BYTES) throw new EvenkeelError('record_too_large', `content: at most ${MOST_BYTES} bytes, this has ${size}; split it by heading`);
    const value = parts.codec.encode('knowledge_document', { tenant, documentId, version, title, audience, owner: null, content });
    await parts.send([{ topic: KNOWLEDGE, partition: partition(parts, tenant), key: `${tenant}/${documentId}`, value }]);
    return { document_id: documentId, version };
  });
  app.delete<{ Params: Params }>('/v1/tenants/:tenant/documents/*', { schema: { ...shared, summary: 'Remove a document' } }, async (request) => {
    const { tenant, documentId } = documentOf(parts, await identify(parts, request), request.params);
    await parts.send([{ topic: KNOWLEDGE, partition: partition(parts, tenant), key: `${tenant}/${documentId}`, value: null }]);
    return { document_id: documentId, removed: true };
  });
}

function documentOf(parts: GatewayParts, who: Caller, params: Params): { readonly tenant: TenantId; readonly documentId: string } {
  mustBe(who, 'operator', 'tenant_admin');
  const documentId = params['*'];
  if (!/^\w[\w./-]{0,199}$/.test(documentId)) throw new EvenkeelError('body_invalid', 'a document id is 1 to 200 letters, digits and ._/-');
  const tenant = tenantFor(who, params.tenant);
  if (!parts.peek({ tenant }).account.created) throw new EvenkeelError('not_found', `there is no tenant ${tenant}`);
  return { tenant, documentId };
}
