-- A database for each desk, made when the server's volume is new: DATABASE_URL=postgresql://desk:...@postgres/desk_{desk}
CREATE DATABASE desk_paper_simulated;
CREATE DATABASE desk_paper_yahoo;
CREATE DATABASE desk_paper_files;
CREATE DATABASE desk_paper_http;
CREATE DATABASE desk_paper_etrade;
CREATE DATABASE desk_paper_etrade_sandbox;
CREATE DATABASE desk_paper_etrade_simulator;
CREATE DATABASE desk_rehearsal_etrade;
CREATE DATABASE desk_live_etrade;
