// Command memberlistnode is one member of a memberlist, for comparison. It
// prints one JSON object per line for each member that joins or leaves.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// teller prints what memberlist tells it.
type teller struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (t *teller) tell(kind string, n *memberlist.Node) {
	at := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.out.Encode(map[string]any{"at": at, "kind": kind, "subject": n.Name})
}

func (t *teller) NotifyJoin(n *memberlist.Node)   { t.tell("join", n) }
func (t *teller) NotifyLeave(n *memberlist.Node)  { t.tell("leave", n) }
func (t *teller) NotifyUpdate(n *memberlist.Node) {}

func main() {
	name := flag.String("name", "", "name of this member")
	bind := flag.String("bind", "127.0.0.1", "address to listen on")
	port := flag.Int("port", 7946, "port to listen on")
	join := flag.String("join", "", "addresses of members to join, comma-separated")
	preset := flag.String("preset", "lan", "lan or tuned")
	flag.Parse()
	log.SetFlags(0)

	config := memberlist.DefaultLANConfig()
	if *preset == "tuned" {
		// As fast as it can be made without touching its code: a probe each
		// 100 ms and at most twice the shortest suspicion.
		config.ProbeInterval = 100 * time.Millisecond
		config.ProbeTimeout = 50 * time.Millisecond
		config.SuspicionMaxTimeoutMult = 2
	}
	config.Name = *name
	config.BindAddr, config.BindPort, config.AdvertisePort = *bind, *port, *port
	config.LogOutput = io.Discard
	config.Events = &teller{out: json.NewEncoder(os.Stdout)}
	list, err := memberlist.Create(config)
	if err != nil {
		log.Fatal("memberlistnode: ", err)
	}
	for *join != "" {
		if _, err := list.Join(strings.Split(*join, ",")); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	select {}
}
