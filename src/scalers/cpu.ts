import { defineResource } from '../scaler/families/resource.ts';

export default defineResource('cpu', 'cores');
