package admin

import (
	"embed"
	"net/http"
)

//go:embed page
var page embed.FS

// mountPage serves the page and its two files. Anything else unknown is a 404
// in plain text.
func mountPage(mux *http.ServeMux) {
	files := map[string]string{
		"GET /{$}":       "page/index.html",
		"GET /app.js":    "page/app.js",
		"GET /style.css": "page/style.css",
	}
	for pattern, file := range files {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			http.ServeFileFS(w, req, page, file)
		})
	}
}
