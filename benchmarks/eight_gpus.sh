#!/usr/bin/env bash
# What the GPUs of one machine do together, in one call of nine minutes. Made for eight; takes all there are.
#
#     OUT=figures benchmarks/eight_gpus.sh                  # 2B network, 7 views of 720p, random weights
#     OUT=figures benchmarks/eight_gpus.sh gangs job        # these sections only
#     OUT=figures benchmarks/eight_gpus.sh --small          # in miniature: gangs of two CPU processes, no GPU
#
# Sections, of N GPUs:
#     gangs      one clip on 1, N/2 and N: efficiency, and how far apart the latents are        gang_sizes.py
#     job        a submitted job, one gang of N: a whole clip, then a rank killed in mid-clip   full_size.py
#     exchange   a step's spread and its kernels on N, and the exchange between ranks alone     denoise.py
#     split      two jobs at once: one gang of N/2, and N/2 gangs of 1                          full_size.py
#
# In $OUT: results.jsonl (a line a measurement, written as it is made), SECTION.log, table.md. A section that is late is
# cut, keeps what it has measured, and the table says so; the last ones are what is missed least. BUDGET: seconds for
# everything (535). STEPS: of the job's clips, see below. PYTHON: the interpreter. Needs the package's dependencies, Ray
# included; nothing is fetched.
set -uo pipefail
python=${PYTHON:-python3}
export OUT=$(realpath -m "${OUT:-eight-gpus}") BEGAN=${BEGAN:-$(date +%s)}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
if [ -z "${RAY_API_SERVER_ADDRESS:-}" ]; then  # one head for all jobs; it starts beside the first section
  export WORK=$(mktemp -d) && export COSMOS_RAY_CACHE=$WORK/cache
  trap 'rm -rf "$WORK"' EXIT
  "$python" benchmarks/with_head.py bash benchmarks/eight_gpus.sh "$@"
  exit
fi

if [ "${1:-}" = --small ]; then
  shift
  gpus=2 size=small files=small text=small device=cpu exchange=4
else
  gpus=$(nvidia-smi --list-gpus | wc -l) size=2b files=full text=11b device=cuda exchange=404
fi
# The job's clips, in solver steps: one to warm up, one to measure, one to be cut off, which must last until the one
# before it is published. A guided step takes 26 s on one H100, and each clip has one evaluation more than steps. A whole
# clip on fewer than eight has no room beside the other sections: STEPS='1 35 4' benchmarks/eight_gpus.sh job.
case $size$gpus in
  small*) steps='1 35 400' ;;
  2b8) steps='1 35 3' ;;
  2b4) steps='1 3 4' ;;
  *) steps='1 1 2' ;;
esac
steps=${STEPS:-$steps}
half=$((gpus > 1 ? gpus / 2 : 1))
sections=${*:-gangs job exchange split}
mkdir -p "$OUT"
: >"$OUT/results.jsonl"

section() { # NAME SECONDS COMMAND...: at most so long, and no longer than the budget lasts
  local name=$1 limit=$2 began=$(($(date +%s) - BEGAN)) code=124
  local left=$((${BUDGET:-535} - began - 20)) # a section that is cut takes up to 20 s to end
  shift 2
  limit=$((limit < left ? limit : left))
  if [ "$limit" -gt 0 ]; then
    timeout --kill-after=20 "$limit" "$python" "$@" 2>"$OUT/$name.log" |
      sed -u "s/^{/{\"section\": \"$name\", /" >>"$OUT/results.jsonl"
    code=${PIPESTATUS[0]}
  fi
  local took=$(($(date +%s) - BEGAN - began))
  echo "{\"section\": \"$name\", \"began_s\": $began, \"took_s\": $took, \"limit_s\": $limit, \"exit_code\": $code}" |
    tee -a "$OUT/results.jsonl"
}

job() { # NAME SECONDS ARGUMENTS...
  local name=$1 limit=$2
  shift 2
  section "$name" "$limit" benchmarks/full_size.py --bundle "$WORK/bundle" --work "$WORK" --device $device "$@"
}

{ # what the jobs need, beside the first section
  "$python" datasets/make_sample.py --out "$WORK/sample" --height 128 --width 224
  "$python" benchmarks/make_published.py "$WORK/bundle" --size $files --t5 $text
} >"$OUT/inputs.log" 2>&1 &
inputs=$!
for name in $sections; do
  case $name in
    gangs) section gangs 200 benchmarks/gang_sizes.py --size $size --gang-sizes 1 $half $gpus ;;
    job)
      wait $inputs
      job job 420 --gang-size $gpus --steps $steps --kill
      ;;
    exchange)
      [ "$gpus" -gt 1 ] || continue
      section exchange 100 benchmarks/denoise.py --size $size --gang-sizes $gpus --modes exact --seconds 1 --steps 2 \
        --all-to-all $exchange # MB: the queries of half a clip's tokens
      ;;
    split)
      [ "$gpus" -gt 1 ] || continue
      wait $inputs
      job split-half 180 --gang-size $half --steps 1 --clips 3 &
      halves=$!
      job split-ones 180 --gang-size 1 --gangs $half --steps 1 --clips $half
      wait $halves
      ;;
    *) echo "no section $name" >&2 && exit 2 ;;
  esac
done
wait
"$python" benchmarks/eight_gpus_table.py "$OUT/results.jsonl" | tee "$OUT/table.md"
