module github.com/popcheck/popcheck

go 1.26
