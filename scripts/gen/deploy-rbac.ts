/** One rule of a role. */
interface Rule {
  /** Why it is there; lines of a comment. */
  why: string;
  groups: readonly string[];
  resources: readonly string[];
  names?: readonly string[];
  verbs: readonly string[];
}

const follow = ['get', 'list', 'watch'] as const;

/** Across the namespaces that are watched. */
const clusterRules: readonly Rule[] = [
  {
    why: 'The workloads. `patch` is for the finalizer and the label that KEDA puts on them.',
    groups: ['keda.sh'],
    resources: ['clustertriggerauthentications', 'scaledjobs', 'scaledobjects', 'triggerauthentications'],
    verbs: [...follow, 'patch'],
  },
  {
    why: 'Their status: conditions, what was last active, who uses an authentication.',
    groups: ['keda.sh'],
    resources: [
      'clustertriggerauthentications/status',
      'scaledjobs/status',
      'scaledobjects/status',
      'triggerauthentications/status',
    ],
    verbs: ['patch'],
  },
  {
    why: 'Whether the definitions have our own fields, or are still those of KEDA: said once at the start.',
    groups: ['apiextensions.k8s.io'],
    resources: ['customresourcedefinitions'],
    names: ['scaledjobs.keda.sh', 'scaledobjects.keda.sh'],
    verbs: ['get'],
  },
  {
    why: 'HorizontalPodAutoscalers and Jobs are owned by a workload and block its deletion: a cluster that enforces\nowner references asks for this.',
    groups: ['keda.sh'],
    resources: ['scaledjobs/finalizers', 'scaledobjects/finalizers'],
    verbs: ['update'],
  },
  {
    why: 'The autoscaler of each ScaledObject: made, kept as it should be, handed over, removed.',
    groups: ['autoscaling'],
    resources: ['horizontalpodautoscalers'],
    verbs: [...follow, 'create', 'delete', 'patch'],
  },
  {
    why: 'Targets, and the environment of their containers.',
    groups: ['apps'],
    resources: ['deployments', 'replicasets', 'statefulsets'],
    verbs: follow,
  },
  {
    why: 'Replicas of targets of any kind. Kinds other than those above need a rule of their own besides: see the role\nbelow.',
    groups: ['*'],
    resources: ['*/scale'],
    verbs: ['get', 'patch'],
  },
  {
    why: 'The Jobs of ScaledJobs. `patch` is for the finalizer and the receipt of those that carry a message.',
    groups: ['batch'],
    resources: ['jobs'],
    verbs: [...follow, 'create', 'delete', 'patch'],
  },
  {
    why: 'Whether the pods of Jobs and of targets in direct mode are ready, and since when.',
    groups: [''],
    resources: ['pods'],
    verbs: follow,
  },
  {
    why: 'What pods use, for cpu and memory triggers in direct mode.',
    groups: ['metrics.k8s.io'],
    resources: ['pods'],
    verbs: ['list'],
  },
  {
    why: 'Credentials that triggers refer to. Only their metadata is watched, to notice an edit.',
    groups: [''],
    resources: ['configmaps', 'secrets'],
    verbs: follow,
  },
  {
    why: 'The role of AWS that a workload\'s own pods have. Tokens of ServiceAccounts (boundServiceAccountToken, Vault) need\n"create" on serviceaccounts/token, which is for whoever owns them to grant: see docs/authentication.md.',
    groups: [''],
    resources: ['serviceaccounts'],
    verbs: follow,
  },
  {
    why: 'A message too large for a variable goes to its Job as a Secret, which the Job owns.',
    groups: [''],
    resources: ['secrets'],
    verbs: ['create', 'patch'],
  },
  {
    why: 'Whether pods have requests by default, which cpu and memory triggers need: asked at admission.',
    groups: [''],
    resources: ['limitranges'],
    verbs: ['list'],
  },
  {
    why: 'The pods behind a service whose metrics are added up (metrics-api).',
    groups: ['discovery.k8s.io'],
    resources: ['endpointslices'],
    verbs: ['list'],
  },
  {
    why: 'Says what was decided, and repeats it by counting.',
    groups: ['events.k8s.io'],
    resources: ['events'],
    verbs: ['create', 'patch'],
  },
  {
    why: 'Tells the API server which authority has signed the certificate of the metrics API.',
    groups: ['apiregistration.k8s.io'],
    resources: ['apiservices'],
    names: ['v1beta1.external.metrics.k8s.io'],
    verbs: [...follow, 'patch'],
  },
  {
    why: 'The same for the webhooks.',
    groups: ['admissionregistration.k8s.io'],
    resources: ['validatingwebhookconfigurations'],
    names: ['keda-admission'],
    verbs: [...follow, 'patch'],
  },
  {
    why: "Whether the CRDs are KEDA's, which drop what only Eventide has: said once.",
    groups: ['apiextensions.k8s.io'],
    resources: ['customresourcedefinitions'],
    names: ['scaledjobs.keda.sh', 'scaledobjects.keda.sh'],
    verbs: ['get'],
  },
];

/** In the operator's own namespace. `create` cannot be limited to a name. */
const ownRules: readonly Rule[] = [
  {
    why: 'Our certificate, so that all replicas have the same one.',
    groups: [''],
    resources: ['secrets'],
    verbs: ['create'],
  },
  {
    why: 'The same: renewed before it runs out.',
    groups: [''],
    resources: ['secrets'],
    names: ['kedaorg-certs'],
    verbs: [...follow, 'update'],
  },
  {
    why: 'One of several processes decides; KEDA agrees by the same Lease, so the two never decide at once.',
    groups: ['coordination.k8s.io'],
    resources: ['leases'],
    verbs: ['create'],
  },
  {
    why: 'The same: kept, and given up.',
    groups: ['coordination.k8s.io'],
    resources: ['leases'],
    names: ['operator.keda.sh'],
    verbs: [...follow, 'patch', 'update'],
  },
];

interface Account {
  namespace: string;
  account: string;
}

/** All roles and bindings, one document each. Names are KEDA's, so that its wider rights end where ours begin. */
export function accessRules({ namespace, account }: Account): string[] {
  const subject = `subjects:
  - kind: ServiceAccount
    name: ${account}
    namespace: ${namespace}
`;
  return [
    role({ kind: 'ClusterRole', name: account }, clusterRules),
    binding({ kind: 'ClusterRoleBinding', name: account }, `ClusterRole/${account}`, subject),
    role({ kind: 'Role', name: account, namespace }, ownRules),
    binding({ kind: 'RoleBinding', name: account, namespace }, `Role/${account}`, subject),
    targetsRole,
    binding(
      { kind: 'ClusterRoleBinding', name: 'eventide-targets' },
      'ClusterRole/eventide-targets',
      subject,
    ),
    `# Lets the metrics API ask the API server who a client is (TokenReview) and what it may (SubjectAccessReview).
${binding({ kind: 'ClusterRoleBinding', name: 'keda-system-auth-delegator' }, 'ClusterRole/system:auth-delegator', subject)}`,
    `# Lets the metrics API read which authorities the API server believes.
${binding({ kind: 'RoleBinding', name: 'keda-auth-reader', namespace: 'kube-system' }, 'Role/extension-apiserver-authentication-reader', subject)}`,
    role({ kind: 'ClusterRole', name: 'keda-external-metrics-reader' }, [
      {
        why: 'Whoever may ask for metrics.',
        groups: ['external.metrics.k8s.io'],
        resources: ['*'],
        verbs: ['get', 'list'],
      },
    ]),
    binding(
      { kind: 'ClusterRoleBinding', name: 'keda-hpa-controller-external-metrics' },
      'ClusterRole/keda-external-metrics-reader',
      `subjects:
  - kind: ServiceAccount
    name: horizontal-pod-autoscaler
    namespace: kube-system
`,
    ),
    role({ kind: 'ClusterRole', name: 'keda:edit', aggregateTo: ['admin', 'edit'] }, [
      {
        why: 'Whoever may edit Deployments may edit what scales them.',
        groups: ['keda.sh', 'eventing.keda.sh'],
        resources: ['*'],
        verbs: ['create', 'delete', 'deletecollection', 'patch', 'update'],
      },
    ]),
    role({ kind: 'ClusterRole', name: 'keda:view', aggregateTo: ['admin', 'edit', 'view'] }, [
      {
        why: 'And whoever may look at them may look at these.',
        groups: ['keda.sh', 'eventing.keda.sh'],
        resources: ['*'],
        verbs: follow,
      },
      {
        why: 'What `eventide explain` asks for.',
        groups: ['external.metrics.k8s.io'],
        resources: ['scaledjobs/decisions', 'scaledobjects/decisions'],
        verbs: ['get'],
      },
    ]),
  ];
}

/** Kinds of targets that a cluster has besides the built-in ones come in by a label, without an edit of our rules. */
const targetsRole = `# Other kinds of targets: a ClusterRole with this label and the rule \`get, list, watch\` on your kind adds it here.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: eventide-targets
aggregationRule:
  clusterRoleSelectors:
    - matchLabels:
        eventide.dev/aggregate-to-targets: 'true'
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: eventide-targets-argo-rollouts
  labels:
    eventide.dev/aggregate-to-targets: 'true'
rules:
  # Argo's Rollouts, the kind that is scaled most beside the built-in ones. Means nothing where there are none.
  - apiGroups: [argoproj.io]
    resources: [rollouts]
    verbs: [get, list, watch]
`;

interface Identity {
  kind: string;
  name: string;
  namespace?: string;
  aggregateTo?: readonly string[];
}

function metadata({ name, namespace, aggregateTo }: Identity): string {
  return [
    'metadata:',
    `  name: ${name}`,
    ...(namespace === undefined ? [] : [`  namespace: ${namespace}`]),
    ...(aggregateTo === undefined
      ? []
      : [
          '  labels:',
          ...aggregateTo.map(role => `    rbac.authorization.k8s.io/aggregate-to-${role}: 'true'`),
        ]),
  ].join('\n');
}

function role(identity: Identity, rules: readonly Rule[]): string {
  return `apiVersion: rbac.authorization.k8s.io/v1
kind: ${identity.kind}
${metadata(identity)}
rules:
${rules.map(ruleText).join('')}`;
}

function ruleText({ why, groups, resources, names, verbs }: Rule): string {
  const list = (items: readonly string[]) =>
    `[${items.map(item => (item === '' || item.startsWith('*') ? `'${item}'` : item)).join(', ')}]`;
  return [
    ...why.split('\n').map(line => `  # ${line}`),
    `  - apiGroups: ${list(groups)}`,
    `    resources: ${list(resources)}`,
    ...(names === undefined ? [] : [`    resourceNames: ${list(names)}`]),
    `    verbs: ${list(verbs)}\n`,
  ].join('\n');
}

function binding(identity: Identity, roleRef: string, subjects: string): string {
  const [kind = '', name = ''] = roleRef.split('/');
  return `apiVersion: rbac.authorization.k8s.io/v1
kind: ${identity.kind}
${metadata(identity)}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ${kind}
  name: ${name}
${subjects}`;
}
