import { defineScaler } from '../scaler/define.ts';
import {
  describeExternal,
  externalEndpoint,
  externalParams,
  externalQuery,
  externalTrigger,
  openExternal,
  readExternal,
  watchExternal,
  watchExternalMetrics,
} from '../scaler/families/external-scaler.ts';

export default defineScaler({
  type: 'external-push',
  doc: 'As `external`, and the server also wakes the target by itself: once it says that the trigger is active, without waiting for the next reading. That it is active no more is learnt from readings. Where it has StreamMetricSpec, it can change names and targets of its metrics at any time. For a ScaledJob it is only asked.',
  testedWith: { kind: 'real', with: "servers in Go and Node.js made from KEDA's proto" },
  params: externalParams,
  anyParams: true,
  resolve: externalTrigger,
  family: 'external',
  endpoint: externalEndpoint,
  query: externalQuery,
  open: openExternal,
  describe: describeExternal,
  read: readExternal,
  watch: watchExternal,
  watchMetrics: watchExternalMetrics,
});
