import { startExternal } from '../../test/external-scaler.ts';
import { scalerContract } from '../../test/scaler-contract.ts';
import externalPush from './external-push.ts';

scalerContract(externalPush, {
  serve: () => startExternal(),
  expect: 12,
  at: ({ host, port }) => ({ params: { scalerAddress: `${host}:${port}` } }),
  protocol: 'tcp',
  cannot: {
    garbage: 'eight bytes are not a whole frame, so that more is waited for: tried with more',
    tlsFailure: 'the address says nothing of TLS: tried with external',
  },
});
