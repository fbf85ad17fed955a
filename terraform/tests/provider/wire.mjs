// As much of protobuf and MessagePack as Terraform's plugin protocol needs here.

/** A protobuf message from its fields; `undefined` and `false` are left out, as proto3 has it. */
export const message = (...fields) => Buffer.concat(fields.flat(Infinity).filter(Boolean));

/** Field `number` with a text, bytes or a message in it. */
export const bytes = (number, value) => {
  if (value === undefined) return undefined;
  const content = Buffer.from(value);
  return Buffer.concat([varint((number << 3) | 2), varint(content.length), content]);
};

/** Field `number` with a boolean or a small number in it. */
export const number = (number, value) => value && Buffer.concat([varint(number << 3), varint(Number(value))]);

function varint(value) {
  const out = [];
  for (; value > 127; value >>>= 7) out.push((value & 127) | 128);
  return Buffer.from([...out, value]);
}

/** The fields of a protobuf message whose fields all have a length, by number; the last one wins. */
export function fields(buffer) {
  const found = new Map();
  for (let at = 0; at < buffer.length; ) {
    const tag = readVarint();
    if ((tag & 7) !== 2) throw new Error(`a field of wire type ${tag & 7}, which is not known here`);
    const length = readVarint();
    found.set(tag >> 3, buffer.subarray(at, (at += length)));

    function readVarint() {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = buffer[at++];
        value |= (byte & 127) << shift;
        if (byte < 128) return value;
      }
    }
  }
  return found;
}

/** What is not known yet, in a value that Terraform sends. */
export const UNKNOWN = Symbol("unknown");

/** A value in MessagePack, as Terraform writes one. */
export function unpack(buffer) {
  let at = 0;
  const take = (length) => buffer.subarray(at, (at += length));
  const uint = (length) => Number(take(length).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n));
  const text = (length) => take(length).toString("utf8");
  const list = (length) => Array.from({ length }, value);
  const map = (length) => Object.fromEntries(Array.from({ length }, () => [value(), value()]));
  const extension = (length) => (take(length + 1), UNKNOWN);
  return value();

  function value() {
    const lead = buffer[at++];
    if (lead < 0x80) return lead;
    if (lead < 0x90) return map(lead & 15);
    if (lead < 0xa0) return list(lead & 15);
    if (lead < 0xc0) return text(lead & 31);
    if (lead >= 0xe0) return lead - 256;
    switch (lead) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc7: return extension(uint(1));
      case 0xc8: return extension(uint(2));
      case 0xca: return take(4).readFloatBE();
      case 0xcb: return take(8).readDoubleBE();
      case 0xcc: return uint(1);
      case 0xcd: return uint(2);
      case 0xce: return uint(4);
      case 0xcf: return uint(8);
      case 0xd0: return take(1).readInt8();
      case 0xd1: return take(2).readInt16BE();
      case 0xd2: return take(4).readInt32BE();
      case 0xd3: return Number(take(8).readBigInt64BE());
      case 0xd4: return extension(1);
      case 0xd5: return extension(2);
      case 0xd6: return extension(4);
      case 0xd7: return extension(8);
      case 0xd8: return extension(16);
      case 0xd9: return text(uint(1));
      case 0xda: return text(uint(2));
      case 0xdb: return text(uint(4));
      case 0xdc: return list(uint(2));
      case 0xdd: return list(uint(4));
      case 0xde: return map(uint(2));
      case 0xdf: return map(uint(4));
      default: throw new Error(`0x${lead.toString(16)} begins no value that Terraform writes`);
    }
  }
}
