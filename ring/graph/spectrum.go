package graph

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// stepsMost bounds the steps of Lanczos; graphs of ten thousand take some two
	// hundred until their eigenvalues stand.
	stepsMost = 600
	// stepsPause is after how many of them it looks whether they do.
	stepsPause = 10
	// settled is by how much, of the largest that is possible, an eigenvalue may still
	// move between two looks.
	settled = 1e-7
)

// spectrum is what is known of the eigenvalues of a graph's random walk, a matrix
// whose largest eigenvalue is 1.
type spectrum struct {
	second, least float64
	vector        []float64 // of second, scaled to the instances: who is on which side
}

// spectrum finds the second and the least eigenvalue by Lanczos iteration with full
// reorthogonalisation (Golub and Van Loan, "Matrix Computations", 10.1) on what is
// orthogonal to the first eigenvector, which is known: the roots of the degrees.
func (g *Graph) spectrum() spectrum {
	n := len(g.near)
	root := make([]float64, n)
	for i, near := range g.near {
		root[i] = math.Sqrt(float64(len(near)))
	}
	first := slices.Clone(root)
	if n < 2 || normalise(first) == 0 {
		return spectrum{}
	}
	dice := rand.New(rand.NewPCG(1, 2))
	v := make([]float64, n)
	for i := range v {
		v[i] = dice.Float64() - 0.5
	}
	subtract(v, first, dot(v, first))
	normalise(v)

	var basis [][]float64
	var t tridiagonal
	var s spectrum
	w := make([]float64, n)
	for len(basis) < min(stepsMost, n-1) {
		basis = append(basis, slices.Clone(v))
		g.walk(w, v, root)
		t.diagonal = append(t.diagonal, dot(w, v))
		subtract(w, first, dot(w, first))
		for range 2 { // twice is enough (Parlett)
			for _, b := range basis {
				subtract(w, b, dot(w, b))
			}
		}
		beta := normalise(w)
		done := beta < 1e-10 || len(basis) == n-1
		if done || len(basis)%stepsPause == 0 {
			second, least := t.eigenvalue(len(basis)-1), t.eigenvalue(0)
			done = done || math.Abs(second-s.second) < settled && math.Abs(least-s.least) < settled
			s.second, s.least = second, least
		}
		if done {
			break
		}
		t.beside = append(t.beside, beta)
		v, w = w, v
	}
	s.vector = make([]float64, n)
	for k, x := range t.eigenvector(s.second, len(basis)) {
		subtract(s.vector, basis[k], -x)
	}
	for i := range s.vector {
		if root[i] > 0 {
			s.vector[i] /= root[i]
		}
	}
	return s
}

// walk sets w to the normalised adjacency matrix times v.
func (g *Graph) walk(w, v, root []float64) {
	for i, near := range g.near {
		sum := 0.0
		for _, j := range near {
			sum += v[j] / root[j]
		}
		w[i] = 0
		if root[i] > 0 {
			w[i] = sum / root[i]
		}
	}
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// subtract takes x times b from a.
func subtract(a, b []float64, x float64) {
	for i := range a {
		a[i] -= x * b[i]
	}
}

// normalise makes v of length 1, if it has any, and returns what it had.
func normalise(v []float64) float64 {
	length := math.Sqrt(dot(v, v))
	if length > 0 {
		for i := range v {
			v[i] /= length
		}
	}
	return length
}

// tridiagonal is a symmetric matrix; beside may have an entry more than is looked at.
type tridiagonal struct {
	diagonal, beside []float64
}

// below counts the eigenvalues below x, by Sturm's sequence (Barth, Martin and
// Wilkinson, Numer. Math. 1967).
func (t *tridiagonal) below(x float64) int {
	count, q := 0, 1.0
	for i, d := range t.diagonal {
		b := 0.0
		if i > 0 {
			b = t.beside[i-1]
		}
		if q == 0 {
			q = 1e-300
		}
		q = d - x - b*b/q
		if q < 0 {
			count++
		}
	}
	return count
}

// eigenvalue is the one that k are below, by halving.
func (t *tridiagonal) eigenvalue(k int) float64 {
	low, high := -1.5, 1.5 // a random walk has none outside -1 and 1
	for range 60 {
		middle := (low + high) / 2
		if t.below(middle) > k {
			high = middle
		} else {
			low = middle
		}
	}
	if middle := (low + high) / 2; math.Abs(middle) > 1e-12 {
		return middle
	}
	return 0
}

// eigenvector is that of an eigenvalue of the first n rows, of length 1, by inverse
// iteration.
func (t *tridiagonal) eigenvector(value float64, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = 1
	}
	up := make([]float64, n)
	value += 1e-11 // beside it, so that there is something to divide by
	for range 3 {
		for i := range n { // Thomas' algorithm
			b, q := 0.0, t.diagonal[i]-value
			if i > 0 {
				b = t.beside[i-1]
				q -= b * up[i-1]
				v[i] -= b * v[i-1]
			}
			if math.Abs(q) < 1e-14 {
				q = 1e-14
			}
			v[i] /= q
			if i < n-1 {
				up[i] = t.beside[i] / q
			}
		}
		for i := n - 2; i >= 0; i-- {
			v[i] -= up[i] * v[i+1]
		}
		normalise(v)
	}
	return v
}
