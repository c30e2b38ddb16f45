/**
 * Loaded into a runtime before its own code: it joins a group of its own and is therefore given every partition, while it opens the same
 * transactional ids and commits the same group's offsets as the others. So each partition has two owners, both sure of it, fencing each
 * other for as long as it runs.
 */
import { isMainThread } from 'node:worker_threads';
import kafkajs from 'kafkajs';

if (isMainThread) {
  type Consumer = { readonly groupId: string };
  const prototype = kafkajs.Kafka.prototype as unknown as { consumer(options: Consumer): unknown };
  const make = prototype.consumer;
  prototype.consumer = function (options) {
    return make.call(this, { ...options, groupId: `${options.groupId}.rival` });
  };
}
