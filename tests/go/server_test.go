// Package clients holds client libraries of Go, unchanged, against the real binary.
package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var alice = map[string]any{"username": "alice", "password": "correct horse battery staple", "name": "Alice Liddell", "email": "alice@example.com", "email_verified": true}

// server is a running `chancery serve` on SQLite in a folder of its own.
type server struct {
	t      *testing.T
	issuer string
	folder string
}

var asked atomic.Int64

// freePort is a port that nobody listens on, that is given to nobody else here, and that the kernel gives to nobody who asks for any port or connects somewhere.
func freePort(t *testing.T) int {
	t.Helper()
	givenAway, lowest := int64(32_768), int64(20_000)
	if ports, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		fmt.Sscan(string(ports), &givenAway)
	}
	for range 1000 {
		port := int64(0)
		if ours := givenAway - lowest; ours > 0 {
			// Other processes of tests begin elsewhere.
			port = lowest + (int64(os.Getpid())*613+asked.Add(1))%ours
		}
		if probe, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			defer probe.Close()
			return probe.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func start(t *testing.T) *server {
	t.Helper()
	binary := os.Getenv("CHANCERY_TEST_BINARY")
	if binary == "" {
		t.Fatal("CHANCERY_TEST_BINARY must name the chancery binary; ./test sets it")
	}
	s := &server{t: t, folder: t.TempDir()}
	port := freePort(t)
	s.issuer = fmt.Sprintf("http://localhost:%d", port)
	configuration := fmt.Sprintf(`[server]
issuer = %q
listen = "127.0.0.1:%d"
management_listen = "127.0.0.1:%d"
data_dir = %q

[passwords]
memory_kib = 64
iterations = 1

[outbound]
allow = ["127.0.0.0/8"]
`, s.issuer, port, freePort(t), filepath.Join(s.folder, "data"))
	if err := os.WriteFile(s.configuration(), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	process := exec.Command(binary, "serve", "--config", s.configuration())
	process.Dir, process.Stdout, process.Stderr = s.folder, &log, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	t.Cleanup(func() {
		process.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(15 * time.Second):
			process.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(25 * time.Millisecond) {
		answer, err := http.Get(s.issuer + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("the server is not up within 20 s")
		}
	}
	s.add("user", alice)
	return s
}

func (s *server) configuration() string { return filepath.Join(s.folder, "chancery.toml") }

// add is `chancery KIND add --file`, and what it prints.
func (s *server) add(kind string, content map[string]any) map[string]any {
	s.t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		s.t.Fatal(err)
	}
	command := exec.Command(os.Getenv("CHANCERY_TEST_BINARY"), kind, "add", "--file", "-", "--json", "--config", s.configuration())
	command.Dir, command.Stdin = s.folder, bytes.NewReader(text)
	out, err := command.CombinedOutput()
	if err != nil {
		s.t.Fatalf("chancery %s add: %v\n%s", kind, err, out)
	}
	var printed map[string]any
	if err := json.Unmarshal(out, &printed); err != nil {
		s.t.Fatal(err)
	}
	return printed
}

// person has a browser without JavaScript: cookies, links, and forms filled in as they stand on the page.
type person struct {
	t       *testing.T
	browser http.Client
	seen    []string
}

func newPerson(t *testing.T) *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t: t, browser: http.Client{Jar: jar, Timeout: 10 * time.Second}}
}

var (
	primaryForm = regexp.MustCompile(`(?s)<main[ >].*?(<form[^>]*>)(.*?)</form>`)
	inputs      = regexp.MustCompile(`<(input|button)[^>]*>`)
	attributes  = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
)

func attributesOf(tag string) map[string]string {
	found := map[string]string{}
	for _, one := range attributes.FindAllStringSubmatch(tag, -1) {
		found[one[1]] = html.UnescapeString(one[2])
	}
	return found
}

// open goes from page to page, signs in and decides, until a page of the app at home is there: its status and text.
func (p *person) open(address, home, decision string) (int, string) {
	p.t.Helper()
	answer, err := p.browser.Get(address)
	for step := 0; step < 8; step++ {
		if err != nil {
			p.t.Fatal(err)
		}
		body, err2 := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err2 != nil {
			p.t.Fatal(err2)
		}
		here := answer.Request.URL
		if strings.HasPrefix(here.String(), home) {
			return answer.StatusCode, string(body)
		}
		form := primaryForm.FindStringSubmatch(string(body))
		if form == nil {
			p.t.Fatalf("no form at %s: %d\n%s", here, answer.StatusCode, body)
		}
		fields, asks := url.Values{}, map[string]bool{}
		for _, tag := range inputs.FindAllString(form[2], -1) {
			at := attributesOf(tag)
			asks[at["name"]] = true
			if strings.HasPrefix(tag, "<input") && at["type"] != "submit" {
				fields.Set(at["name"], at["value"])
			}
		}
		switch {
		case asks["username"]:
			p.seen = append(p.seen, "login")
			fields.Set("username", alice["username"].(string))
			fields.Set("password", alice["password"].(string))
		case asks["decision"]:
			p.seen = append(p.seen, "decision")
			fields.Set("decision", decision)
		default:
			p.t.Fatalf("a page that nobody expected at %s:\n%s", here, body)
		}
		action, err3 := here.Parse(attributesOf(form[1])["action"])
		if err3 != nil {
			p.t.Fatal(err3)
		}
		request, err4 := http.NewRequest(http.MethodPost, action.String(), strings.NewReader(fields.Encode()))
		if err4 != nil {
			p.t.Fatal(err4)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", here.Scheme+"://"+here.Host)
		request.Header.Set("Sec-Fetch-Site", "same-origin")
		answer, err = p.browser.Do(request)
	}
	p.t.Fatal("the pages never end")
	return 0, ""
}
