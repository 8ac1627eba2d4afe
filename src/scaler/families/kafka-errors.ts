import { Fault, type FaultCode } from '../../base/errors.ts';

/**
 * Kafka's error codes that a reader of offsets meets, with what each means to a person. `passing` is true for
 * those that end by themselves, mostly once the metadata is asked for anew.
 */
const known: Readonly<Record<number, { code: FaultCode; says: string; passing?: true }>> = {
  1: { code: 'SOURCE_NOT_FOUND', says: 'the offset is out of range' },
  3: { code: 'SOURCE_NOT_FOUND', says: 'there is no such topic or partition', passing: true },
  5: { code: 'SOURCE_BUSY', says: 'the partition has no leader now', passing: true },
  6: { code: 'SOURCE_BUSY', says: 'the partition has moved to another broker', passing: true },
  7: { code: 'SOURCE_BUSY', says: 'the broker took too long' },
  9: { code: 'SOURCE_BUSY', says: 'the replica is not available', passing: true },
  10: { code: 'SOURCE_FAILED', says: 'the message is larger than the topic takes' },
  12: {
    code: 'SOURCE_FAILED',
    says: 'the broker keeps too little text beside an offset (offset.metadata.max.bytes)',
  },
  14: {
    code: 'SOURCE_BUSY',
    says: 'the coordinator of the group is still loading its offsets',
    passing: true,
  },
  15: { code: 'SOURCE_BUSY', says: 'the group has no coordinator now', passing: true },
  16: { code: 'SOURCE_BUSY', says: 'the group has moved to another coordinator', passing: true },
  17: { code: 'SOURCE_NOT_FOUND', says: 'no topic can have this name' },
  24: { code: 'SOURCE_NOT_FOUND', says: 'no group can have this name' },
  25: {
    code: 'SOURCE_REFUSED',
    says: 'the group has members of its own, and delivery needs a group for itself',
  },
  29: { code: 'SOURCE_REFUSED', says: 'the user may not describe the topic' },
  30: { code: 'SOURCE_REFUSED', says: 'the user may not describe the group' },
  31: { code: 'SOURCE_REFUSED', says: 'the user may not do this in the cluster' },
  33: { code: 'SOURCE_REFUSED', says: 'the broker does not offer this SASL mechanism here' },
  34: { code: 'SOURCE_REFUSED', says: 'nobody logs in with SASL here' },
  35: { code: 'NOT_SUPPORTED', says: 'the broker does not know this version of the request' },
  56: { code: 'SOURCE_BUSY', says: 'the disk of the broker failed', passing: true },
  58: { code: 'SOURCE_REFUSED', says: 'the broker did not accept the credentials' },
  69: { code: 'SOURCE_NOT_FOUND', says: 'there is no such group' },
  72: { code: 'SOURCE_BUSY', says: 'the leader of the partition has no such listener', passing: true },
  78: { code: 'SOURCE_BUSY', says: 'the leader of the partition has just been chosen', passing: true },
};

/** No error in an answer. */
export const noError = 0;
export const topicNotFound = 3;
export const offsetOutOfRange = 1;
export const topicExists = 36;
/** What a group that nobody has committed in, or that a broker of another kind keeps, is answered with. */
export const groupNotFound = 69;

/** The Fault that an error code of an answer stands for. @param what names what was asked for */
export function faultOfCode(error: number, what: string, said?: string | null): Fault {
  const { code, says } = known[error] ?? { code: 'SOURCE_FAILED' as const, says: `error ${error} of Kafka` };
  const more = said === undefined || said === null || said === '' ? '' : `: ${said.slice(0, 200)}`;
  return new Fault(code, `${what}: ${says}${more}`);
}

/** Whether asking again, with new metadata, can help at once. */
export function isPassing(error: number): boolean {
  return known[error]?.passing ?? false;
}
