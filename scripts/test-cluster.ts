/**
 * Builds what the cluster tests run on, unless it is in the user's cache: `npm test` and .ci/run do it first, as it
 * takes minutes. Without Go it does nothing, for those tests are skipped then, or use the cluster that
 * EVENTIDE_TEST_KUBECONFIG names.
 */
import process from 'node:process';
import { clusterBinaries, hasGo } from '../test/cluster/binaries.ts';

const needed = process.env['EVENTIDE_TEST_KUBECONFIG'] === undefined;
if (needed && ((await hasGo()) || process.env['CI'] === 'true')) {
  const { controlPlane, kwok } = await clusterBinaries();
  console.log(`cluster tests run on ${controlPlane} and ${kwok}`);
} else if (needed) {
  console.log('cluster tests are skipped: there is no Go to build Kubernetes with');
}
