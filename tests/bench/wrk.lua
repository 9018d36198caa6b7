-- What wrk is to send, and its result in one line for the bench. UPLOAD (bytes) in the environment makes it a POST.
local upload = tonumber(os.getenv("UPLOAD") or "0")
if upload > 0 then
  wrk.method = "POST"
  wrk.body = string.rep("x", upload)
  wrk.headers["Content-Type"] = "application/octet-stream"
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT requests=%d microseconds=%d bytes=%d p50=%.0f p99=%.0f connect=%d read=%d write=%d timeout=%d status=%d\n",
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.timeout, e.status))
end
