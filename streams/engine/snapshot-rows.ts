/**
 * Rows as a stream of bytes, and back. A frame is the table's letter, the lengths of key and value (4 bytes each, big endian) and both; the
 * stream is cut into chunks at any byte, so that a row may be of any size.
 */
import { EvenkeelError } from '#schemas/errors.ts';
import { type PutRow, TABLES, type Table } from './ports.ts';

const HEAD = 9;
const TABLE_OF = new Map(Object.entries(TABLES).map(([table, letter]) => [letter.charCodeAt(0), table as Table]));

export function frame(table: Table, key: string, value: Uint8Array): Buffer {
  const length = Buffer.byteLength(key);
  const bytes = Buffer.allocUnsafe(HEAD + length + value.byteLength);
  bytes[0] = TABLES[table].charCodeAt(0);
  bytes.writeUInt32BE(length, 1);
  bytes.writeUInt32BE(value.byteLength, 5);
  bytes.write(key, HEAD);
  bytes.set(value, HEAD + length);
  return bytes;
}

export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /** Whether the stream may end here. */
  get whole(): boolean {
    return this.#rest.byteLength === 0;
  }

  /** Puts the rows that these bytes complete. @throws EvenkeelError `record_unreadable` for a table that is not known */
  push(bytes: Uint8Array, put: PutRow): void {
    const all = Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (at + HEAD <= all.byteLength) {
      const table = TABLE_OF.get(all[at] as number);
      if (!table) throw new EvenkeelError('record_unreadable', `a snapshot's row of table ${all[at]}`);
      const value = at + HEAD + all.readUInt32BE(at + 1);
      const end = value + all.readUInt32BE(at + 5);
      if (end > all.byteLength) break;
      put(table, all, at + HEAD, value, end);
      at = end;
    }
    this.#rest = all.subarray(at);
  }
}
