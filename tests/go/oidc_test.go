package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// app is a web application as the examples of go-oidc have it, and what it got when somebody signed in last.
type app struct {
	home     string
	provider *oidc.Provider
	oauth    oauth2.Config
	// What an attempt expects; tests tamper with it between the sending away and the coming back.
	tamper func(*attempt)

	// What came to the address for logout tokens.
	logouts chan string

	mutex    sync.Mutex
	attempts map[string]attempt
	token    *oauth2.Token
	idToken  *oidc.IDToken
}

type attempt struct{ state, nonce, verifier string }

func startApp(t *testing.T, s *server, metadata map[string]any) *app {
	t.Helper()
	a := &app{attempts: map[string]attempt{}, logouts: make(chan string, 8)}
	web := httptest.NewServer(a)
	t.Cleanup(web.Close)
	a.home = web.URL
	registration := map[string]any{
		"client_name": "Go", "redirect_uris": []string{a.home + "/callback"}, "post_logout_redirect_uris": []string{a.home + "/"},
		"grant_types": []string{"authorization_code", "refresh_token"},
	}
	for name, value := range metadata {
		// Its own addresses the app learns only now.
		if path, ok := value.(string); ok && strings.HasPrefix(path, "/") {
			value = a.home + path
		}
		registration[name] = value
	}
	client := s.add("client", registration)
	provider, err := oidc.NewProvider(t.Context(), s.issuer)
	if err != nil {
		t.Fatal(err)
	}
	a.provider = provider
	a.oauth = oauth2.Config{
		ClientID: client["client_id"].(string), Endpoint: provider.Endpoint(), RedirectURL: a.home + "/callback",
		Scopes: []string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess, "profile", "email"},
	}
	a.oauth.ClientSecret, _ = client["client_secret"].(string)
	return a
}

func (a *app) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	switch request.URL.Path {
	case "/login":
		begun := attempt{state: oauth2.GenerateVerifier(), nonce: oauth2.GenerateVerifier(), verifier: oauth2.GenerateVerifier()}
		http.SetCookie(response, &http.Cookie{Name: "attempt", Value: begun.state, Path: "/", HttpOnly: true})
		location := a.oauth.AuthCodeURL(begun.state, oidc.Nonce(begun.nonce), oauth2.S256ChallengeOption(begun.verifier), oauth2.SetAuthURLParam("prompt", request.URL.Query().Get("prompt")))
		a.attempts[begun.state] = begun
		http.Redirect(response, request, location, http.StatusFound)
	case "/callback":
		if err := a.callback(request); err != nil {
			var refused *oauth2.RetrieveError
			if errors.As(err, &refused) {
				err = errors.New(refused.ErrorCode)
			}
			http.Error(response, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(response, "Hello, %s", a.idToken.Subject)
	case "/backchannel":
		a.logouts <- request.PostFormValue("logout_token")
	}
}

func (a *app) callback(request *http.Request) error {
	query := request.URL.Query()
	cookie, err := request.Cookie("attempt")
	if err != nil || cookie.Value != query.Get("state") {
		return errors.New("another state")
	}
	begun := a.attempts[cookie.Value]
	if a.tamper != nil {
		a.tamper(&begun)
	}
	if refused := query.Get("error"); refused != "" {
		return errors.New(refused)
	}
	token, err := a.oauth.Exchange(request.Context(), query.Get("code"), oauth2.VerifierOption(begun.verifier))
	if err != nil {
		return err
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return errors.New("no ID token")
	}
	idToken, err := a.provider.Verifier(&oidc.Config{ClientID: a.oauth.ClientID}).Verify(request.Context(), raw)
	if err != nil {
		return err
	}
	if idToken.Nonce != begun.nonce {
		return errors.New("another nonce")
	}
	if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
		return err
	}
	a.token, a.idToken = token, idToken
	return nil
}

// signIn has a person of a fresh browser sign in, and answers with the status and the text of the app's page.
func (a *app) signIn(t *testing.T, query, decision string) (int, string) {
	t.Helper()
	return newPerson(t).open(a.home+"/login"+query, a.home, decision)
}

func TestAPersonSignsInWithPKCEAndNonce(t *testing.T) {
	a := startApp(t, start(t), nil)
	p := newPerson(t)
	status, text := p.open(a.home+"/login?prompt=consent", a.home, "allow")
	if status != http.StatusOK || text != "Hello, "+a.idToken.Subject {
		t.Fatalf("%d %s", status, text)
	}
	if got := strings.Join(p.seen, " "); got != "login decision" {
		t.Errorf("pages: %s", got)
	}
	if !a.token.Valid() || a.token.Type() != "Bearer" || a.token.RefreshToken == "" {
		t.Errorf("token: %s, refresh token: %v", a.token.Type(), a.token.RefreshToken != "")
	}
	var claims struct {
		Email    *string `json:"email"`
		AuthTime int64   `json:"auth_time"`
	}
	if err := a.idToken.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if claims.Email != nil {
		t.Error("personal claims belong to userinfo")
	}
	if age := time.Since(time.Unix(claims.AuthTime, 0)); age < -time.Second || age > time.Minute {
		t.Errorf("auth_time: %s ago", age)
	}

	info, err := a.provider.UserInfo(t.Context(), a.oauth.TokenSource(t.Context(), a.token))
	if err != nil {
		t.Fatal(err)
	}
	if info.Subject != a.idToken.Subject || info.Email != alice["email"] || !info.EmailVerified {
		t.Errorf("userinfo: %+v", info)
	}
}

func TestTokensThatAreOverAreRefreshed(t *testing.T) {
	a := startApp(t, start(t), nil)
	if status, text := a.signIn(t, "?prompt=consent", "allow"); status != http.StatusOK {
		t.Fatal(text)
	}
	// A source of tokens refreshes by itself when the one it has is over.
	over := *a.token
	over.Expiry = time.Now().Add(-time.Minute)
	renewed, err := a.oauth.TokenSource(t.Context(), &over).Token()
	if err != nil {
		t.Fatal(err)
	}
	if renewed.AccessToken == a.token.AccessToken || !renewed.Valid() {
		t.Error("not a new access token")
	}
	raw, _ := renewed.Extra("id_token").(string)
	idToken, err := a.provider.Verifier(&oidc.Config{ClientID: a.oauth.ClientID}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if idToken.Subject != a.idToken.Subject || idToken.IssuedAt.Before(a.idToken.IssuedAt) {
		t.Errorf("ID token: %+v", idToken)
	}
	if err := idToken.VerifyAccessToken(renewed.AccessToken); err != nil {
		t.Error(err)
	}
	if info, err := a.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(renewed)); err != nil || info.Subject != idToken.Subject {
		t.Errorf("userinfo: %v %v", info, err)
	}
}

func TestWhatDoesNotBelongToTheAttemptIsRefused(t *testing.T) {
	a := startApp(t, start(t), nil)
	if status, text := a.signIn(t, "", "deny"); status != http.StatusBadRequest || strings.TrimSpace(text) != "access_denied" {
		t.Errorf("%d %s", status, text)
	}
	// In this order: the library learns by a success how the secret is sent, and answers a first failure with what its second try heard.
	for _, tampered := range []struct {
		expected string
		tamper   func(*attempt)
	}{
		{"another nonce", func(begun *attempt) { begun.nonce = oauth2.GenerateVerifier() }},
		{"invalid_grant", func(begun *attempt) { begun.verifier = oauth2.GenerateVerifier() }},
	} {
		a.tamper = tampered.tamper
		if status, text := a.signIn(t, "", "allow"); status != http.StatusBadRequest || strings.TrimSpace(text) != tampered.expected {
			t.Errorf("%s: %d %s", tampered.expected, status, text)
		}
	}
	a.tamper = nil
	a.oauth.ClientSecret = "not the secret"
	if _, text := a.signIn(t, "", "allow"); strings.TrimSpace(text) != "invalid_client" {
		t.Error(text)
	}
	if _, err := oidc.NewProvider(t.Context(), a.home); err == nil {
		t.Error("a provider was found where there is none")
	}
}

// The library tries Basic first and the body next, with the same code: a refused authentication must not spend it.
func TestTheWayOfTheSecretIsFoundByTrying(t *testing.T) {
	a := startApp(t, start(t), map[string]any{"token_endpoint_auth_method": "client_secret_post"})
	if a.oauth.Endpoint.AuthStyle != oauth2.AuthStyleAutoDetect {
		t.Fatal("the library has become cleverer")
	}
	if status, text := a.signIn(t, "", "allow"); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
}

func TestEachAlgorithmIsVerified(t *testing.T) {
	s := start(t)
	for _, algorithm := range []string{oidc.RS256, oidc.PS256, oidc.ES256, oidc.EdDSA} {
		a := startApp(t, s, map[string]any{"id_token_signed_response_alg": algorithm, "userinfo_signed_response_alg": algorithm})
		if status, text := a.signIn(t, "", "allow"); status != http.StatusOK {
			t.Fatalf("%s: %d %s", algorithm, status, text)
		}
		// Userinfo as a JWT, which the library verifies with the same keys.
		info, err := a.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(a.token))
		if err != nil || info.Email != alice["email"] {
			t.Errorf("%s: %v %v", algorithm, info, err)
		}
		wrong := oidc.Config{ClientID: a.oauth.ClientID, SupportedSigningAlgs: []string{oidc.RS512}}
		if _, err := a.provider.Verifier(&wrong).Verify(t.Context(), a.token.Extra("id_token").(string)); err == nil {
			t.Errorf("%s was taken for RS512", algorithm)
		}
	}
}

func TestASignOutReachesTheApp(t *testing.T) {
	a := startApp(t, start(t), map[string]any{"backchannel_logout_uri": "/backchannel"})
	p := newPerson(t)
	if status, text := p.open(a.home+"/login", a.home, "allow"); status != http.StatusOK {
		t.Fatal(text)
	}
	raw := a.token.Extra("id_token").(string)
	var session struct {
		SID string `json:"sid"`
	}
	var endpoints struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := errors.Join(a.idToken.Claims(&session), a.provider.Claims(&endpoints)); err != nil {
		t.Fatal(err)
	}
	p.open(endpoints.EndSession+"?"+url.Values{"id_token_hint": {raw}, "post_logout_redirect_uri": {a.home + "/"}}.Encode(), a.home, "allow")
	verifier := a.provider.Verifier(&oidc.Config{ClientID: a.oauth.ClientID})
	select {
	case came := <-a.logouts:
		logout, err := verifier.VerifyLogout(t.Context(), came)
		if err != nil {
			t.Fatal(err)
		}
		if logout.Subject != a.idToken.Subject || logout.SessionID != session.SID || session.SID == "" {
			t.Errorf("%+v", logout)
		}
	case <-time.After(20 * time.Second):
		t.Error("no logout token came")
	}
	if _, err := verifier.VerifyLogout(t.Context(), raw); err == nil {
		t.Error("an ID token was taken for a logout token")
	}
	if status, text := p.open(a.home+"/login?prompt=none", a.home, "allow"); status != http.StatusBadRequest || strings.TrimSpace(text) != "login_required" {
		t.Errorf("%d %s", status, text)
	}
}

func TestAPublicClientSignsIn(t *testing.T) {
	a := startApp(t, start(t), map[string]any{"token_endpoint_auth_method": "none"})
	if status, text := a.signIn(t, "", "allow"); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
}

func TestAMachineGetsATokenOfItsOwn(t *testing.T) {
	s := start(t)
	s.add("resource", map[string]any{"identifier": "https://api.example.com", "name": "Orders", "scopes": []map[string]any{{"name": "orders:read", "description": "Read your orders"}}})
	client := s.add("client", map[string]any{"client_name": "Batch job", "grant_types": []string{"client_credentials"}, "scope": "orders:read"})
	config := clientcredentials.Config{ClientID: client["client_id"].(string), ClientSecret: client["client_secret"].(string), TokenURL: s.issuer + "/token", Scopes: []string{"orders:read"}}
	token, err := config.Token(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// The access token is a JWT that go-oidc can verify, for the API.
	provider, err := oidc.NewProvider(t.Context(), s.issuer)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: "https://api.example.com"}).Verify(t.Context(), token.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]json.RawMessage{}
	if err := verified.Claims(&claims); err != nil || string(claims["scope"]) != `"orders:read"` {
		t.Errorf("claims: %v %v", claims, err)
	}
}
