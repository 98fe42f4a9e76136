# Search by words: a child of lexical_peers.py.
find_package(nlohmann_json CONFIG REQUIRED)
add_executable(lexical_bench lexical_bench.cc)
target_link_libraries(lexical_bench PRIVATE vecino_warnings vecino_fields nlohmann_json::nlohmann_json)
