module odradek/tests/groups

go 1.21
