// A shop's back end with net/http: it lets users in, tells them over the gateway what happens, and hears who looks.
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tokenLife       = time.Hour
	publishAttempts = 5
	publishTimeout  = 5 * time.Second
	hookMaxAge      = 5 * time.Minute
	hookMaxBytes    = 2 << 20
)

type server struct {
	gatewayURL, gatewayKey string
	tokenSecret            []byte // auth.secret of the gateway
	hookSecret             []byte
	client                 http.Client
	shop                   *shop
}

func main() {
	s := &server{
		gatewayURL:  strings.TrimSuffix(mustGetenv("REALTIME_URL"), "/"),
		gatewayKey:  mustGetenv("REALTIME_KEY"),
		tokenSecret: []byte(mustGetenv("TOKEN_SECRET")),
		hookSecret:  []byte(mustGetenv("HOOK_SECRET")),
		client:      http.Client{Timeout: publishTimeout},
		shop:        newShop(),
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8000"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /orders/{number}/pay", s.withOwnOrder(s.pay))
	mux.HandleFunc("GET /orders/{number}", s.withOwnOrder(s.order))
	mux.HandleFunc("POST /gateway-hook", s.hook)
	log.Printf("listening on %s", port)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, mux))
}

func mustGetenv(name string) string {
	value := os.Getenv(name)
	if value == "" {
		log.Fatalf("%s is not set", name)
	}
	return value
}

// claims of a token. Join are the rooms that it opens; without it, it would be all.
type claims struct {
	Join    []string `json:"join"`
	Publish []string `json:"publish"`
	jwt.RegisteredClaims
}

func (s *server) login(w http.ResponseWriter, r *http.Request) {
	var given struct{ User, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&given); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "that is no login"})
		return
	}
	if !s.shop.isPassword(given.User, given.Password) {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "wrong user or password"})
		return
	}
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		Join:    s.shop.roomsOf(given.User),
		Publish: []string{},
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   given.User,
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
		},
	}).SignedString(s.tokenSecret)
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"token": token})
}

// withOwnOrder lets only the owner of an order at it.
func (s *server) withOwnOrder(next func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		key := func(*jwt.Token) (any, error) { return s.tokenSecret, nil }
		var who claims
		_, err := jwt.ParseWithClaims(text, &who, key, jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
		if err != nil {
			answer(w, http.StatusUnauthorized, map[string]string{"error": "log in first"})
			return
		}
		number := r.PathValue("number")
		if !s.shop.owns(who.Subject, number) {
			answer(w, http.StatusNotFound, map[string]string{"error": "there is no such order of yours"})
			return
		}
		next(w, r, number)
	}
}

func (s *server) pay(w http.ResponseWriter, r *http.Request, number string) {
	s.shop.pay(number)
	// The ID says what happened, not which attempt to tell it this is: told twice, it is still heard once.
	offset, err := s.publish(r.Context(), roomOf(number), event{
		Event: "paid", Data: map[string]string{"number": number}, ID: "paid-" + number,
	})
	if err != nil {
		log.Print(err)
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"offset": offset})
}

func (s *server) order(w http.ResponseWriter, _ *http.Request, number string) {
	answer(w, http.StatusOK, s.shop.order(number))
}

type event struct {
	Event string `json:"event"`
	Data  any    `json:"data"`
	ID    string `json:"id"`
}

// publish says something to everybody in a room. It is in the log when this returns without an error; the event's ID makes
// trying again safe.
func (s *server) publish(ctx context.Context, room string, event event) (string, error) {
	body, err := json.Marshal(event)
	if err != nil {
		return "", err
	}
	path := s.gatewayURL + "/api/v1/rooms/" + url.PathEscape(room) + "/events"
	for attempt := 1; ; attempt++ {
		offset, again, err := s.publishOnce(ctx, path, body)
		if err == nil {
			return offset, nil
		}
		if again < 0 || attempt == publishAttempts {
			return "", fmt.Errorf("the gateway was not told: %w", err)
		}
		backoff := time.Duration(float64(100*time.Millisecond<<attempt) * (0.5 + rand.Float64()/2))
		select {
		case <-time.After(max(again, backoff)):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// publishOnce also says how long to wait before another attempt, with less than nothing if it would be in vain.
func (s *server) publishOnce(ctx context.Context, path string, body []byte) (string, time.Duration, error) {
	const never = -1
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return "", never, err
	}
	request.Header.Set("Authorization", "Bearer "+s.gatewayKey)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		// It may have been done: the answer, not the request, may be what was lost.
		return "", 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", 0, err
	}
	if response.StatusCode == http.StatusCreated {
		var published struct{ Offset string }
		err := json.Unmarshal(text, &published)
		return published.Offset, never, err
	}
	err = errors.New(string(text))
	if response.StatusCode != http.StatusTooManyRequests && response.StatusCode < 500 {
		return "", never, err
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return "", time.Duration(seconds) * time.Second, err
}

func (s *server) hook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, hookMaxBytes))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "too much"})
		return
	}
	if !s.isGenuine(r.Header.Get("X-Gateway-Signature"), body) {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "the signature is not the gateway's"})
		return
	}
	var told struct{ Events []hookEvent }
	if err := json.Unmarshal(body, &told); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	s.shop.hear(told.Events)
	w.WriteHeader(http.StatusNoContent)
}

// isGenuine tells whether a request is from the gateway, and not one of long ago that somebody sends again.
func (s *server) isGenuine(header string, body []byte) bool {
	var sent string
	var signatures [][]byte
	for part := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "t":
			sent = value
		case "v1":
			// There are several while the secret is changed.
			if signature, err := hex.DecodeString(value); err == nil {
				signatures = append(signatures, signature)
			}
		}
	}
	seconds, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > hookMaxAge {
		return false
	}
	mac := hmac.New(sha256.New, s.hookSecret)
	mac.Write([]byte(sent + "."))
	mac.Write(body)
	expected := mac.Sum(nil)
	for _, signature := range signatures {
		if hmac.Equal(signature, expected) {
			return true
		}
	}
	return false
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func isHash(password, salt, hash string) bool {
	saltBytes, _ := hex.DecodeString(salt)
	actual, err := pbkdf2.Key(sha256.New, password, saltBytes, 100_000, 32)
	expected, _ := hex.DecodeString(hash)
	return err == nil && subtle.ConstantTimeCompare(actual, expected) == 1
}
