/** The operators that stand between two operands. */
export type BinaryOperator =
  | '+'
  | '-'
  | '*'
  | '/'
  | '%'
  | '**'
  | '=='
  | '!='
  | '<'
  | '>'
  | '<='
  | '>='
  | '&&'
  | '||'
  | 'in'
  | 'matches'
  | 'contains'
  | 'startsWith'
  | 'endsWith'
  | '..'
  | '??';

/** A formula as a tree. `at` is the offset a message about the node points at. Ints are bigints, floats numbers. */
export type Node = { at: number } & (
  | { kind: 'literal'; value: null | boolean | bigint | number | string }
  | { kind: 'name'; name: string }
  | { kind: 'unary'; op: '-' | '+' | 'not'; of: Node }
  | { kind: 'binary'; op: BinaryOperator; left: Node; right: Node }
  /** What an optional member (`?.`) inside cuts short when it finds nil. */
  | { kind: 'chain'; of: Node }
  | { kind: 'member'; of: Node; key: Node; optional: boolean }
  | { kind: 'slice'; of: Node; from?: Node; to?: Node }
  | { kind: 'call'; name: string; args: Node[] }
  /** A built-in that takes a predicate: `over` is the array, `body` the predicate, `extra` order or first value. */
  | { kind: 'loop'; name: string; over: Node; body?: Node; extra?: Node }
  | { kind: 'pointer'; name: string }
  | { kind: 'let'; name: string; value: Node; body: Node }
  | { kind: 'sequence'; nodes: Node[] }
  | { kind: 'conditional'; test: Node; yes: Node; no: Node }
  | { kind: 'array'; items: Node[] }
  | { kind: 'map'; pairs: { key: Node; value: Node }[] }
);

export type NodeOf<K extends Node['kind']> = Extract<Node, { kind: K }>;
