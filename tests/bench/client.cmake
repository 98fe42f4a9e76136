# Search latency and throughput over gRPC; end_to_end.py runs it beside the same work in Python.
add_executable(search_bench search_bench.cc)
target_link_libraries(search_bench PRIVATE vecino_warnings vecino_client nlohmann_json::nlohmann_json
                                           CLI11::CLI11)
