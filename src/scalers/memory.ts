import { defineResource } from '../scaler/families/resource.ts';

export default defineResource('memory', 'bytes');
