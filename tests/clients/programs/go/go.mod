module odradek/tests/clients

go 1.21
