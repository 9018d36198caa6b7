# docs/scaling.png, from the courses that `make simulate` has written into `folder`.
set terminal pngcairo size 900,1000 font "sans,9"
set multiplot layout 4,2
set style fill solid 0.25 noborder
set key top right
set xlabel "s"
set yrange [0:*]
set offsets graph 0, 0, 0.35, 0
names = "step|ramp|square wave of 10 s|square wave of 60 s|flash crowd|heavy tail|crash storm"
at(i) = system(sprintf("echo '%s' | cut -d'|' -f%d", names, i))
do for [i=1:7] {
  set title at(i)
  file = folder . "/" . at(i) . ".tsv"
  plot file using 1:3 with filledcurves y1=0 lc rgb "#2c7fb8" title "busy workers", \
       file using 1:2 with lines lw 1.5 lc rgb "#253494" title "workers", \
       file using 1:4 with lines lc rgb "#d95f0e" title "waiting"
}
unset multiplot
