package trust

// Forget makes s verify every chain anew.
func (s *Store) Forget() {
	now := s.now.Load()
	now.mu.Lock()
	defer now.mu.Unlock()
	clear(now.verified)
}
