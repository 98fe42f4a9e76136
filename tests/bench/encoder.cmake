# Tokens a second of the encoder and the latency of one query.
add_executable(encoder_bench encoder_bench.cc)
target_link_libraries(encoder_bench PRIVATE vecino_warnings vecino_encoder)
