import { defineScaler } from '../scaler/define.ts';
import {
  describeExternal,
  externalEndpoint,
  externalParams,
  externalQuery,
  externalTrigger,
  openExternal,
  readExternal,
} from '../scaler/families/external-scaler.ts';

export default defineScaler({
  type: 'external',
  doc: 'Asks a gRPC server of your own, an external scaler as KEDA has them. It gives the metric its name, its target and its value, and says whether the trigger is active, whatever the value is. A server that gives no value is an error, not a zero.',
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
});
