"""What must be true of rendered objects that no schema says: how they fit together, and how little they may do."""

SELECTING = {"Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"}


def templates(objects):
    """The pods that the objects make: who makes them, their labels and their spec."""
    for item in objects:
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            yield item, template["metadata"]["labels"], template["spec"]
        elif item["kind"] == "Pod":
            yield item, item["metadata"]["labels"], item["spec"]


def selector(item):
    """Whom an object selects, or nothing."""
    spec = item["spec"]
    if item["kind"] == "Service":
        return spec["selector"]
    if item["kind"] == "NetworkPolicy":
        return spec["podSelector"]["matchLabels"]
    return spec["selector"]["matchLabels"]


def matches(wanted, labels):
    """Whether labels are those that a selector wants."""
    return wanted.items() <= labels.items()


def restricted(pod):
    """What Pod Security Standards call restricted, and a root that cannot be written to."""
    own = pod.get("securityContext", {})
    yield own.get("runAsNonRoot") is True and own.get("runAsUser", 0) > 0, "runs as root"
    yield own.get("seccompProfile") == {"type": "RuntimeDefault"}, "has no seccomp profile"
    yield not (pod.get("hostNetwork") or pod.get("hostPID") or pod.get("hostIPC")), "shares what is the machine's"
    yield pod.get("automountServiceAccountToken") is False, "has a token for Kubernetes"
    yield pod.get("enableServiceLinks") is False, "gets variables for Services"
    for volume in pod.get("volumes", []):
        yield "hostPath" not in volume, f"mounts a path of the machine: {volume['name']}"
    for container in pod["containers"]:
        context = container.get("securityContext", {})
        yield context.get("allowPrivilegeEscalation") is False, "may get more rights"
        yield context.get("readOnlyRootFilesystem") is True, "has a root that can be written to"
        yield context.get("capabilities") == {"drop": ["ALL"]}, "has capabilities"
        resources = container["resources"]
        yield {"cpu", "memory"} <= resources["requests"].keys(), "asks for nothing"
        yield "memory" in resources["limits"] and "cpu" not in resources["limits"], "has a CPU limit, or none on memory"
        yield not container["image"].endswith(":latest") and any(mark in container["image"] for mark in ":@"), "has any image"


def ends(pod):
    """What the API server asks of the end of a pod, and a drain of it."""
    grace = pod.get("terminationGracePeriodSeconds", 30)
    for container in pod["containers"]:
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        yield sleep < grace, f"preStop ({sleep} s) takes the whole grace period ({grace} s)"


def probes(pod):
    """Probes ask at ports that are there, and nothing that restarts a pod asks for Redis."""
    for container in pod["containers"]:
        ports = {port["name"] for port in container.get("ports", [])}
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(name, {})
            asked = probe.get("httpGet") or probe.get("tcpSocket")
            if asked:
                yield asked["port"] in ports, f"has a {name} at the port {asked['port']}, which is not there"
                yield name == "readinessProbe" or asked.get("path") != "/readyz", f"is restarted when it is not ready ({name})"
            else:
                yield not ports or (container["name"] != "gateway" and name == "startupProbe"), f"has no {name}"


def mounts(item, pod, objects):
    """Mounted volumes exist, and so do the chart's own objects that they are made of."""
    made = {(other["kind"], other["metadata"]["name"]) for other in objects}
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", []):
            yield mount["name"] in volumes, f"mounts {mount['name']}, which is not there"
    for volume in volumes.values():
        if "configMap" in volume:
            yield ("ConfigMap", volume["configMap"]["name"]) in made, f"needs a ConfigMap {volume['configMap']['name']}"
    if item["kind"] == "Deployment":
        account = pod["serviceAccountName"]
        yield account == "default" or ("ServiceAccount", account) in made, f"needs a ServiceAccount {account}"


def fitting(objects):
    """Each `(ok, what)` about the objects of one release."""
    pods = list(templates(objects))
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    yield len(names) == len(set(names)), "two objects of one kind have one name"
    for item, labels, pod in pods:
        who = f"{item['kind']} {item['metadata']['name']}"
        for rules in (restricted(pod), ends(pod), probes(pod), mounts(item, pod, objects)):
            for ok, what in rules:
                yield ok, f"{who} {what}"
        if item["kind"] == "Deployment":
            yield matches(item["spec"]["selector"]["matchLabels"], labels), f"{who} does not select its own pods"
            update = item["spec"]["strategy"]["rollingUpdate"]
            yield {str(value).rstrip("%") for value in update.values()} != {"0"}, f"{who} can never be updated"
            for spread in pod["topologySpreadConstraints"]:
                yield matches(spread["labelSelector"]["matchLabels"], labels), f"{who} spreads others' pods"
    for item in objects:
        who = f"{item['kind']} {item['metadata']['name']}"
        if item["kind"] in SELECTING:
            hit = [pod for _, labels, pod in pods if matches(selector(item), labels)]
            yield len(hit) == 1, f"{who} selects {len(hit)} kinds of pods"
            ports = {port["name"]: port["containerPort"] for pod in hit for c in pod["containers"] for port in c["ports"]}
            wanted = []
            if item["kind"] == "Service":
                wanted = [port["targetPort"] for port in item["spec"]["ports"]]
            elif item["kind"] == "PodMonitor":
                wanted = [endpoint["port"] for endpoint in item["spec"]["podMetricsEndpoints"]]
            elif item["kind"] == "NetworkPolicy":
                wanted = [port["port"] for rule in item["spec"]["ingress"] for port in rule["ports"]]
                admin = [rule for rule in item["spec"]["ingress"] if {"port": "admin", "protocol": "TCP"} in rule["ports"]]
                own = {"podSelector": {"matchLabels": selector(item)}}
                yield any(own in rule["from"] for rule in admin), f"{who} keeps nodes from asking each other"
            for port in wanted:
                yield port in ports, f"{who} names the port {port}, which no container has"
        if item["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = item["spec"]["scaleTargetRef"]
            scaled = [d for d in objects if d["kind"] == target["kind"] and d["metadata"]["name"] == target["name"]]
            yield len(scaled) == 1, f"{who} scales nothing"
            yield all("replicas" not in d["spec"] for d in scaled), f"{who} and the Deployment both say how many"
        if item["kind"] in ("Ingress", "HTTPRoute"):
            services = {(s["metadata"]["name"], p["port"], p["name"]) for s in objects if s["kind"] == "Service" for p in s["spec"]["ports"]}
            for name, port in back_ends(item):
                yield any(name == s[0] and port in s[1:] for s in services), f"{who} leads to {name}:{port}, which is not there"


def back_ends(item):
    """The Services and ports that an Ingress or an HTTPRoute leads to."""
    for rule in item["spec"]["rules"]:
        if item["kind"] == "HTTPRoute":
            yield from ((back["name"], back["port"]) for back in rule["backendRefs"])
        else:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield service["name"], service["port"].get("name") or service["port"]["number"]
