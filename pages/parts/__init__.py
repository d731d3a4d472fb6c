"""What the pages share: the run of this session, words, tables and charts. No page logic, no framework."""
