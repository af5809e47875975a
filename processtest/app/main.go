//go:build linux

// Command app is an application as somebody might put beside an instance: a small HTTP
// server that crashes, hangs, leaks children, ignores SIGTERM and forks, when told to.
//
//	GET  /healthz   200, unless it hangs
//	GET  /pids      its own process id and those of all it has started, a line each
//	POST /crash     exit code 7, with all of its children left behind
//	POST /hang      no answer any more, to anything
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "host:port")
	leak := flag.Int("leak", 0, "children to start in its own group, which nobody ends")
	daemons := flag.Int("daemons", 0, "children to start, each in a session of its own")
	deaf := flag.Bool("deaf", false, "ignore SIGTERM")
	fork := flag.Bool("fork", false, "let a child of its own do all this, and wait for it")
	idle := flag.Bool("idle", false, "do nothing for ever; what children do")
	flag.Parse()
	switch {
	case *idle:
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		select {}
	case *fork:
		child := exec.Command(os.Args[0], "-listen", *listen, fmt.Sprintf("-leak=%d", *leak),
			fmt.Sprintf("-daemons=%d", *daemons), fmt.Sprintf("-deaf=%v", *deaf))
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if *deaf {
			signal.Ignore(syscall.SIGTERM)
		}
		if err := child.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "app: its child:", err)
			os.Exit(1)
		}
		return
	}
	if err := serve(*listen, *leak, *daemons, *deaf); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

// serve starts the children, and answers until the process ends.
func serve(listen string, leak, daemons int, deaf bool) error {
	pids := fmt.Sprintf("%d\n%d\n", os.Getpid(), os.Getppid())
	for i := range leak + daemons {
		child := exec.Command(os.Args[0], "-idle")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: i >= leak}
		if err := child.Start(); err != nil {
			return err
		}
		pids += fmt.Sprintf("%d\n", child.Process.Pid)
	}
	if deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	var hangs atomic.Bool
	answer := func(f http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			if hangs.Load() {
				<-req.Context().Done()
				return
			}
			f(w, req)
		}
	}
	http.HandleFunc("GET /healthz", answer(func(http.ResponseWriter, *http.Request) {}))
	http.HandleFunc("GET /pids", answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, pids) }))
	http.HandleFunc("POST /hang", answer(func(http.ResponseWriter, *http.Request) { hangs.Store(true) }))
	http.HandleFunc("POST /crash", answer(func(http.ResponseWriter, *http.Request) { os.Exit(7) }))
	fmt.Println("app: it serves", os.Getenv("RING_INSTANCE"))
	return http.ListenAndServe(listen, nil)
}
