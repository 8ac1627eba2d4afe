import { createRequire } from 'node:module';

/** A list as the AMQP library of the test server is about to write it. */
interface TypedList {
  type: unknown;
  descriptor?: { value: unknown };
  value: unknown;
}

interface Composite {
  described(): TypedList;
}

interface Frames {
  write_frame(frame: { performative?: Composite | TypedList }): Buffer;
}

interface Types {
  List32(items: unknown[]): TypedList;
  wrap_uint(value: number): unknown;
}

const require = createRequire(import.meta.url);

/** How many fields each composite has, by its code in the standard. */
const fields: Readonly<Record<number, number>> = {
  16: 10, // open
  17: 8, // begin
  18: 14, // attach
  19: 11, // flow
  20: 11, // transfer
  21: 6, // disposition
  22: 3, // detach
  23: 1, // end
  24: 1, // close
  29: 3, // error
  40: 11, // source
  41: 7, // target
};

const begin = 17;
/** The place of a field that has a default, which is not null. */
const handleMax = 4;

/**
 * Has the test server write every field of a frame, as Azure does. The standard lets one leave out those at the end
 * that are null, and the server does; Azure's client for Python cannot read such frames.
 */
export function writeWholeLists(): void {
  const frames = require('rhea/lib/frames.js') as Frames;
  const types = require('rhea/lib/types.js') as Types;
  const write = frames.write_frame;
  const list = types.List32([]).type;
  const mostHandles = types.wrap_uint(255);
  frames.write_frame = frame => {
    const { performative } = frame;
    if (performative === undefined) return write(frame);
    const whole = 'described' in performative ? performative.described() : performative;
    fill(whole, list);
    if (Number(whole.descriptor?.value) === begin) (whole.value as unknown[])[handleMax] ??= mostHandles;
    return write({ ...frame, performative: whole });
  };
}

function fill(composite: TypedList, list: unknown): void {
  const count = fields[Number(composite.descriptor?.value)];
  const items = composite.value;
  if (count === undefined || !Array.isArray(items)) return;
  for (const item of items as (TypedList | undefined)[]) if (item) fill(item, list);
  // An empty list has a type of its own.
  composite.type = list;
  items.length = count;
}
