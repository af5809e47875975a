package admin

import (
	"embed"
	"net/http"
)

//go:embed page
var page embed.FS

// pageRoutes serve the page and its two files.
func pageRoutes() (routes []Route) {
	for _, one := range []struct{ pattern, file string }{
		{"GET /{$}", "page/index.html"},
		{"GET /app.js", "page/app.js"},
		{"GET /style.css", "page/style.css"},
	} {
		routes = append(routes, Route{
			Pattern: one.pattern, Need: ToRead,
			Serve: func(w http.ResponseWriter, req *http.Request) { http.ServeFileFS(w, req, page, one.file) },
		})
	}
	return routes
}
