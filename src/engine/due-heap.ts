/** Something that is due at a time. `due` and `place` belong to the heap. */
export interface Due {
  due: number;
  /** Where it stands in the heap; -1 while it is not in it. */
  place: number;
}

/** A binary heap of what is due next. Every item is in it at most once and can be moved or taken out. */
export class DueHeap<T extends Due> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** What is due first, without taking it. */
  first(): T | undefined {
    return this.#items[0];
  }

  /** Puts an item in, or moves it to another time. */
  set(item: T, due: number): void {
    if (item.place < 0) {
      item.place = this.#items.length;
      this.#items.push(item);
      item.due = due;
      this.#rise(item);
      return;
    }
    const earlier = due < item.due;
    item.due = due;
    if (earlier) this.#rise(item);
    else this.#sink(item);
  }

  /** Takes an item out; nothing happens where it is not in. */
  delete(item: T): void {
    const { place } = item;
    if (place < 0) return;
    item.place = -1;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#put(last, place);
    this.#rise(last);
    this.#sink(last);
  }

  #put(item: T, place: number): void {
    this.#items[place] = item;
    item.place = place;
  }

  #rise(item: T): void {
    let { place } = item;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = this.#items[above];
      if (parent === undefined || parent.due <= item.due) break;
      this.#put(parent, place);
      place = above;
    }
    this.#put(item, place);
  }

  #sink(item: T): void {
    let { place } = item;
    for (;;) {
      const left = this.#items[2 * place + 1];
      const right = this.#items[2 * place + 2];
      const child = right !== undefined && left !== undefined && right.due < left.due ? right : left;
      if (child === undefined || child.due >= item.due) break;
      const below = child.place;
      this.#put(child, place);
      place = below;
    }
    this.#put(item, place);
  }
}
