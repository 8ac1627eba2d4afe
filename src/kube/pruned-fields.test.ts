import { describe, expect, it } from 'vitest';
import { crds } from '../spec/crd.ts';
import { droppedBy } from './pruned-fields.ts';

const crd = (properties: object) => ({
  spec: {
    versions: [{ name: 'v1alpha1', schema: { openAPIV3Schema: { properties: { spec: { properties } } } } }],
  },
});
const triggers = (metadata: object) => ({ triggers: { items: { properties: { metadata } } } });
const texts = { type: 'object', additionalProperties: { type: 'string' } };

describe('what a CRD drops', () => {
  it.each(['scaledobjects', 'scaledjobs'])('is nothing with our own of %s', plural => {
    const ours = crds().find(each => (each['metadata'] as { name: string }).name === `${plural}.keda.sh`);

    expect(droppedBy(ours)).toEqual([]);
  });

  it("is what only Eventide has with one like KEDA's", () => {
    expect(droppedBy(crd(triggers(texts)))).toEqual(['spec.eventide', 'trigger metadata that is not text']);
  });

  it('is only what it does drop', () => {
    expect(droppedBy(crd({ eventide: {}, ...triggers(texts) }))).toEqual([
      'trigger metadata that is not text',
    ]);
  });
});
