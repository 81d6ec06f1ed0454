"""Values with one mistake each, and words of what is said about it. They are laid over examples/defaults.yaml, which is fine."""


def merged(base, change):
    """Values with a change laid over them."""
    result = dict(base)
    for key, value in change.items():
        result[key] = merged(result.get(key) or {}, value) if isinstance(value, dict) else value
    return result


VARIANTS = [
    # By the schema.
    ("a number as text", {"replicas": "three"}, "/replicas"),
    ("a key that there is not", {"replicaCount": 3}, "replicaCount"),
    ("a key that there is not, further down", {"drain": {"seconds": 30}}, "seconds"),
    ("a key of the configuration as it is called elsewhere", {"config": {"maxAge": "6h"}}, "maxAge"),
    ("a drain without time for its announcement", {"drain": {"timeoutSeconds": 1}}, "/drain/timeoutSeconds"),
    ("a proxy by its name", {"trustedProxies": ["haproxy"]}, "/trustedProxies/0"),
    ("a tag in the repository", {"image": {"repository": "registry.example/gateway:1"}}, "/image/repository"),
    ("a digest cut short", {"image": {"digest": "sha256:abc"}}, "/image/digest"),
    ("a variable that is not the gateway's", {"existingSecret": "", "secretValues": {"REDIS_URL": "redis://r"}}, "REDIS_URL"),
    # By words.
    ("grace shorter than the drain", {"terminationGracePeriodSeconds": 30}, "terminationGracePeriodSeconds: 30 is too short"),
    ("a name that no Service can have", {"nameOverride": "my.app"}, "which a Service cannot have"),
    ("no Secret", {"existingSecret": ""}, "name a Secret that has GATEWAY_REDIS_URL"),
    ("two Secrets", {"secretValues": {"GATEWAY_REDIS_URL": "redis://r"}}, "set one of them"),
    ("values without Redis", {"existingSecret": "", "secretValues": {"GATEWAY_ADMIN__TOKEN": "t"}}, "GATEWAY_REDIS_URL is missing"),
    ("nobody, and a budget", {"replicas": 0}, "replicas: 0 with podDisruptionBudget.enabled"),
    ("a budget of nothing", {"podDisruptionBudget": {"maxUnavailable": 0}}, "lets nobody drain a machine"),
    ("an update that cannot begin", {"updateStrategy": {"maxSurge": 0}}, "no pod could ever be replaced"),
    ("a secret for everybody to read", {"config": {"auth": {"secret": "s"}}}, "as GATEWAY_AUTH__SECRET"),
    (
        "the URL of another Redis",
        {"config": {"redis": {"of": {"chat": {"namespaces": ["/chat"], "url": "redis://:p@chat"}}}}},
        "as GATEWAY_REDIS__OF__CHAT__URL",
    ),
    ("what nodes prove themselves with, for everybody to read", {"config": {"passing": {"secret": "s"}}}, "as GATEWAY_PASSING__SECRET"),
    ("headers of a collector", {"config": {"telemetry": {"otlp_headers": "x=1"}}}, "as GATEWAY_TELEMETRY__OTLP_HEADERS"),
    ("a secret in a hook", {"routes": '[[hook]]\nname = "b"\nsecrets = ["{env.B}", "s"]\n'}, "routes: it has `secrets`"),
    ("a secret beside another's variable", {"routes": '[jobs]\nback_end = [{ secrets = ["s"] }, { secrets = ["{env.B}"] }]\n'}, "routes: it has `secrets`"),
    ("a secret in a list", {"config": {"jobs": {"back_end": [{"name": "b", "secrets": ["s"]}]}}}, "Set configKind to Secret"),
    ("what the chart sets", {"config": {"listen": "0.0.0.0:80"}}, "config.listen: the chart sets it itself"),
    ("what the chart sets, further down", {"config": {"telemetry": {"format": "text"}}}, "config.telemetry.format"),
    ("a node that is killed before it looks", {"resources": {"limits": {"memory": "1280Mi"}}}, "resources.limits.memory: 1280Mi is not above"),
    ("a node that is killed before it looks, in bytes", {"resources": {"limits": {"memory": 1073741824}}}, "+ 256 MiB"),
    (
        "more for clients than there is",
        {"config": {"limits": {"buffered_bytes": 2000000000}}},
        "limits.buffered_bytes (2000000000) + 256 MiB",
    ),
    ("fewer at most than at least", {"autoscaling": {"enabled": True, "maxReplicas": 2}}, "is less than minReplicas"),
    ("nodes that are full before others come", {"autoscaling": {"enabled": True, "connectionsPerPod": 20000}}, "is not below limits.connections"),
    ("KEDA by CPU", {"autoscaling": {"enabled": True, "type": "keda", "cpuPercent": 70}}, "only with type hpa"),
    ("an Ingress for every host", {"ingress": {"enabled": True}}, "ingress.host"),
    ("an HTTPRoute on nothing", {"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
    ("HAProxy without a key", {"haproxy": {"enabled": True}}, "haproxy.cookieKeySecret"),
    ("a path that HAProxy would not take", {"haproxy": {"paths": ["/a b"]}}, "/haproxy/paths/0"),
]

# What looks like some of these, and is none.
FINE = [
    ("a hook that names a variable", {"routes": '# secrets = ["s"]\n[[hook]]\nname = "b"\nsecrets = [ "{env.B}",\n  "{env.C}" ]\n'}),
    ("secrets in a Secret", {"configKind": "Secret", "routes": '[[hook]]\nsecrets = ["s"]\n'}),
    ("as little memory as there may be", {"resources": {"limits": {"memory": "1281Mi"}}}),
    ("memory in bytes", {"resources": {"limits": {"memory": 1400000000}}}),
    ("memory in thousands", {"resources": {"limits": {"memory": "1.4G"}}}),
    ("less memory for less that may wait", {"config": {"limits": {"buffered_bytes": 100000000}}, "resources": {"limits": {"memory": "512Mi"}}}),
]

# What the chart lets pass, and a real API server refuses, with the field that it names.
BY_SERVER = [
    ("more memory asked for than allowed", {"resources": {"requests": {"memory": "4Gi"}}}, "must be less than or equal to memory limit"),
    ("a label with a blank", {"podLabels": {"team": "real time"}}, 'Invalid value: "real time"'),
    ("a network without its size", {"networkPolicy": {"clients": [{"ipBlock": {"cidr": "10.0.0.0"}}]}}, "ipBlock.cidr"),
    ("a setting of the kernel that is the machine's", {"sysctls": [{"name": "net.core.somaxconn", "value": "4096"}]}, "forbidden sysctls (net.core.somaxconn)"),
    ("a folder of the machine", {"extraVolumes": [{"name": "certificates", "hostPath": {"path": "/etc/ssl"}}]}, 'restricted volume types (volume "certificates" uses restricted volume type "hostPath")'),
    ("a mount of what is not there", {"extraVolumeMounts": [{"name": "certificates", "mountPath": "/certificates"}]}, "volumeMounts[1].name: Not found"),
    ("a priority that there is not", {"priorityClassName": "urgent"}, "no PriorityClass with name urgent was found"),
    ("a host that begins with a dash", {"ingress": {"enabled": True, "host": "-realtime.example"}}, "spec.rules[0].host"),
    ("a toleration that cannot be", {"tolerations": [{"key": "pool", "operator": "Is"}]}, "operator"),
    ("an affinity misspelt", {"affinity": {"nodeAffinty": {}}}, "nodeAffinty"),
    ("an interval the wrong way round", {"monitoring": {"podMonitor": True, "interval": "30s1m"}}, "interval"),
    ("a route's host that begins with a dash", {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["-a.example"]}}, "hostnames"),
]
# Some of these as Helm tells them, which has made other objects by then.
INSTALLED = [BY_SERVER[index] for index in (0, 2, 7, 10)]
