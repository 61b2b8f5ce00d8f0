// Package manifests reads deploy/kubernetes as an API server does: by Kubernetes' own types, which refuse a field that they do not have, and by
// its own Pod Security Standards.
package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	strict "sigs.k8s.io/yaml"
)

const folder = "../../../deploy/kubernetes"

// All documents of all files, decoded strictly.
func decoded(t *testing.T) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests", err)
	}
	var objects []runtime.Object
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
		for {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(file, err)
			}
			object, _, err := decoder.Decode(document, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			objects = append(objects, object)
		}
	}
	return objects
}

func all[T runtime.Object](t *testing.T) []T {
	t.Helper()
	var found []T
	for _, object := range decoded(t) {
		if one, ok := object.(T); ok {
			found = append(found, one)
		}
	}
	return found
}

func TestTheTypesOfKubernetesTakeEveryField(t *testing.T) {
	if objects := decoded(t); len(objects) != 7 {
		t.Fatalf("%d objects", len(objects))
	}
	text, err := os.ReadFile(filepath.Join(folder, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var kustomization struct {
		metav1.TypeMeta `json:",inline"`
		Resources       []string `json:"resources"`
	}
	if err := strict.UnmarshalStrict(text, &kustomization); err != nil {
		t.Fatal(err)
	}
	for _, file := range kustomization.Resources {
		if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestThePodKeepsTheRestrictedStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	restricted := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for _, deployment := range all[*appsv1.Deployment](t) {
		pod := deployment.Spec.Template
		for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
			if !result.Allowed {
				t.Errorf("%s: %s", result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		// The standard says nothing of these.
		container := pod.Spec.Containers[0]
		if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
			t.Error("the root file system can be written to")
		}
		if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
			t.Error("the pod holds a token of the cluster")
		}
	}
}

func TestSelectorsPortsAndVolumesMeet(t *testing.T) {
	deployments := all[*appsv1.Deployment](t)
	if len(deployments) != 1 {
		t.Fatalf("%d deployments", len(deployments))
	}
	pod := deployments[0].Spec.Template
	container := pod.Spec.Containers[0]
	selects := func(name string, selector *metav1.LabelSelector) {
		matches, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || matches.Empty() || !matches.Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s does not select the pods: %v", name, err)
		}
	}
	port := func(name string, wanted intstr.IntOrString) {
		for _, one := range container.Ports {
			if wanted.StrVal == one.Name && wanted.Type == intstr.String {
				return
			}
		}
		t.Errorf("%s: the container names no port %s", name, wanted.String())
	}
	selects("the deployment", deployments[0].Spec.Selector)
	for _, constraint := range pod.Spec.TopologySpreadConstraints {
		selects("the spread", constraint.LabelSelector)
	}
	for name, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "readiness": container.ReadinessProbe, "liveness": container.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil {
			t.Fatalf("no %s probe", name)
		}
		port(name, probe.HTTPGet.Port)
	}
	services := map[string]*corev1.Service{}
	for _, service := range all[*corev1.Service](t) {
		services[service.Name] = service
		selects(service.Name, metav1.SetAsLabelSelector(service.Spec.Selector))
		for _, one := range service.Spec.Ports {
			port(service.Name, one.TargetPort)
		}
	}
	for _, budget := range all[*policyv1.PodDisruptionBudget](t) {
		selects("the disruption budget", budget.Spec.Selector)
	}
	for _, network := range all[*networkingv1.NetworkPolicy](t) {
		selects("the network policy", &network.Spec.PodSelector)
		for _, rule := range network.Spec.Ingress {
			for _, one := range rule.Ports {
				port("the network policy", *one.Port)
			}
		}
	}
	for _, ingress := range all[*networkingv1.Ingress](t) {
		for _, rule := range ingress.Spec.Rules {
			for _, path := range rule.HTTP.Paths {
				backend := path.Backend.Service
				service, known := services[backend.Name]
				if !known {
					t.Fatalf("no service %s", backend.Name)
				}
				named := false
				for _, one := range service.Spec.Ports {
					named = named || one.Name == backend.Port.Name
				}
				if !named {
					t.Errorf("service %s names no port %s", backend.Name, backend.Port.Name)
				}
			}
		}
	}
	secrets := map[string]*corev1.Secret{}
	for _, secret := range all[*corev1.Secret](t) {
		secrets[secret.Name] = secret
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.Secret == nil || secrets[volume.Secret.SecretName] == nil {
			t.Fatalf("volume %s is of no secret that is documented", volume.Name)
		}
		if mode := volume.Secret.DefaultMode; mode == nil || *mode&0o007 != 0 {
			t.Errorf("every user may read the secrets of volume %s", volume.Name)
		}
	}
}
