module example.com/hello

go 1.19

require example.com/greeting v1.0.0

require example.com/words v1.2.0 // indirect
