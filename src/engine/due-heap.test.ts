import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Due, DueHeap } from './due-heap.ts';

interface Item extends Due {
  id: number;
}

const item = (id: number): Item => ({ id, due: 0, place: -1 });

function drain(heap: DueHeap<Item>): number[] {
  const dues: number[] = [];
  for (let first = heap.first(); first !== undefined; first = heap.first()) {
    dues.push(first.due);
    heap.delete(first);
  }
  return dues;
}

describe('DueHeap', () => {
  it('gives out what is due first, whatever was put in, moved or taken out before', () => {
    const change = fc.record({
      id: fc.nat(20),
      due: fc.integer({ min: 0, max: 100 }),
      remove: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 200 }), changes => {
        const heap = new DueHeap<Item>();
        const items = Array.from({ length: 21 }, (_, id) => item(id));
        const model = new Map<number, number>();
        for (const { id, due, remove } of changes) {
          const one = items[id] as Item;
          if (remove) {
            heap.delete(one);
            model.delete(id);
          } else {
            heap.set(one, due);
            model.set(id, due);
          }
        }

        const size = heap.size;
        const dues = drain(heap);

        expect(size).toBe(model.size);
        expect(dues).toEqual([...model.values()].sort((a, b) => a - b));
      }),
    );
  });

  it('is empty at first, and taking out what is not in does nothing', () => {
    const heap = new DueHeap<Item>();

    heap.delete(item(1));

    expect([heap.size, heap.first()]).toEqual([0, undefined]);
  });
});
