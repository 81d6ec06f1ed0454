package main

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

const hookIDsKept = 10_000

type user struct{ salt, hash string }

// shop is what a database would have.
type shop struct {
	users  map[string]user
	owners map[string]string // of orders

	mutex    sync.Mutex
	paid     map[string]bool
	watching map[string]map[string]bool // users by room
	visits   map[string]int
	hookIDs  map[string]bool
	oldest   []string // of hookIDs, in the order in which they came
}

type order struct {
	Paid     bool     `json:"paid"`
	Watching []string `json:"watching"`
	Visits   int      `json:"visits"`
}

type hookEvent struct{ ID, Type, Room, User string }

func newShop() *shop {
	return &shop{
		users: map[string]user{
			"alice": {strings.Repeat("5a1f", 8), "d4e95b42fe3418c801eadb20a34f7b8cfc5d02e73c224f187d9a5392b0b8defd"},
			"bob":   {strings.Repeat("c07e", 8), "7f0efe692faac33632bfc59d9ac489ce6340ee5731b3fb4cb93dc59b8d9b2511"},
		},
		owners:   map[string]string{"7": "alice", "8": "bob"},
		paid:     map[string]bool{},
		watching: map[string]map[string]bool{},
		visits:   map[string]int{},
		hookIDs:  map[string]bool{},
	}
}

func roomOf(number string) string { return "orders-" + number }

func (s *shop) isPassword(name, password string) bool {
	known, exists := s.users[name]
	return isHash(password, known.salt, known.hash) && exists
}

func (s *shop) owns(name, number string) bool {
	owner, exists := s.owners[number]
	return exists && owner == name
}

func (s *shop) roomsOf(name string) []string {
	rooms := []string{}
	for number, owner := range s.owners {
		if owner == name {
			rooms = append(rooms, roomOf(number))
		}
	}
	return rooms
}

func (s *shop) pay(number string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.paid[number] = true
}

func (s *shop) order(number string) order {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	room := roomOf(number)
	users := slices.AppendSeq([]string{}, maps.Keys(s.watching[room]))
	slices.Sort(users)
	return order{Paid: s.paid[number], Watching: users, Visits: s.visits[room]}
}

// hear takes events of a hook. They come at least once; their IDs tell which came before.
func (s *shop) hear(events []hookEvent) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, event := range events {
		if s.hookIDs[event.ID] {
			continue
		}
		s.hookIDs[event.ID] = true
		s.oldest = append(s.oldest, event.ID)
		if len(s.oldest) > hookIDsKept {
			delete(s.hookIDs, s.oldest[0])
			s.oldest = s.oldest[1:]
		}
		switch event.Type {
		case "room.joined":
			if s.watching[event.Room] == nil {
				s.watching[event.Room] = map[string]bool{}
			}
			s.watching[event.Room][event.User] = true
			s.visits[event.Room]++
		case "room.left":
			delete(s.watching[event.Room], event.User)
		}
	}
}
