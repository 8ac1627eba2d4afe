/**
 * Builds what the cluster tests run on, and a Vault, unless it is in the user's cache: `npm test` and .ci/run do it
 * first, as it takes minutes. Without Go it does nothing, for those tests are skipped then, or use the cluster that
 * EVENTIDE_TEST_KUBECONFIG names.
 */
import process from 'node:process';
import { clusterBinaries, hasGo } from '../test/cluster/binaries.ts';
import { vaultBinary } from '../test/vault.ts';

const go = (await hasGo()) || process.env['CI'] === 'true';
const needed = process.env['EVENTIDE_TEST_KUBECONFIG'] === undefined;
if (needed && go) {
  const { controlPlane, kwok } = await clusterBinaries();
  console.log(`cluster tests run on ${controlPlane} and ${kwok}`);
} else if (needed) {
  console.log('cluster tests are skipped: there is no Go to build Kubernetes with');
}
if (go) console.log(`tests of secrets run on ${await vaultBinary()}`);
