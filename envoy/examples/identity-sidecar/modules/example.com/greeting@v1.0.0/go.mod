module example.com/greeting

go 1.19

require example.com/words v1.2.0
