-- What of a source differed from what is declared, in a pull that went well.
alter table pulls add column drift text;
